"""What the first edition answered, and how alike an answer must be."""

from __future__ import annotations

import json
from typing import Any

import pytest

from testing.first_edition.questions import DATA

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
