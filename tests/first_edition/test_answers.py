"""The version under test answers as the first edition did about what the first edition wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from testing.first_edition.answers import EXPECTED, HEARD_AGAIN_REL, assert_same
from testing.first_edition.questions import QUESTIONS


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
