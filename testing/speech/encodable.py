"""Parameters of tests that encode, skipped where this machine has no library that does."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import pytest
from _pytest.mark import ParameterSet

from earwitness.errors import EarwitnessError
from earwitness.speech.codecs.registry import codec


@cache
def why_not(spec: str) -> str:
    """Why this machine cannot encode with a codec; empty if it can."""
    try:
        codec(spec).encoder()
    except EarwitnessError as error:
        return str(error)
    return ""


def encodable(specs: Iterable[str]) -> list[ParameterSet]:
    """A parameter for each codec, which is skipped with the reason if it cannot be encoded."""
    return [pytest.param(spec, marks=pytest.mark.skipif(bool(why_not(spec)), reason=why_not(spec))) for spec in specs]
