"""The version under test answers as the first edition did about what the first edition wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.first_edition.questions import DATA, QUESTIONS

EXPECTED = json.loads((DATA / "expected.json").read_text(encoding="utf-8"))
HEARD_AGAIN_REL = 1e-3
"""For what is computed anew with codecs of the machine, whose versions may differ in the last bits."""


def assert_same(found: Any, expected: Any, where: str, rel: float) -> None:
    """Everything that was there has its value; columns that were added since are no fault."""
    if isinstance(expected, dict):
        assert isinstance(found, dict), where
        for name, value in expected.items():
            assert name in found, f"{where}: {name} is gone"
            assert_same(found[name], value, f"{where}.{name}", rel)
    elif isinstance(expected, list):
        assert isinstance(found, list), where
        assert len(found) == len(expected), where
        for number, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert_same(one, other, f"{where}[{number}]", rel)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=rel, abs=1e-9), where
    else:
        assert found == expected, where


@pytest.mark.parametrize("name", [name for name in QUESTIONS if name != "what_if_resumed"])
def test_the_answer_is_as_it_was(name: str, tmp_path: Path) -> None:
    rel = HEARD_AGAIN_REL if name == "what_if" else 1e-9
    assert_same(QUESTIONS[name](tmp_path), EXPECTED[name], name, rel)


def test_what_was_kept_has_something_of_each_kind() -> None:
    """So that the other tests compare something."""
    rows = EXPECTED["rows_rebuilt"]
    assert {row["outcome"] for row in rows} == {"completed", "path_lost", "no_answer"}
    assert {row["path"] for row in rows} == {"direct", "tor", "vpn", "tcp"}
    (status,) = EXPECTED["status"]
    assert (status["calls"], status["open"], status["attempts"]) == (6, 3, 5)
    assert status["outcomes"] == {"completed": 3, "failed": 2}
