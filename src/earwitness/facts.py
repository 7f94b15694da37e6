"""A field of what is written down: its definition for the data dictionary, and the range that its value must have.

A fact about a call is a field of a frozen dataclass, filled where the fact is known. Such dataclasses nest: the same
object is what a path returns, what a call collects and what its record holds (`earwitness.archive.codec` writes it).
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

MS_RANGE = (-1e12, 1e12)
"""Thirty years either way: what lies beyond is no time of a call, and sums of it would overflow."""
LABEL = 200
"""Characters of a text that stands on axes and in headings, at most."""


def fact(definition: str, bounds: tuple[float, float] | None = None, longest: int | None = None, **options: Any) -> Any:
    """A field with its definition, the range of its number or the length of its text; `options` are those of `field`.

    It is always written, as null where it is None.
    """
    return dataclasses.field(metadata={"definition": definition, "range": bounds, "longest": longest}, **options)


def sparse(definition: str, bounds: tuple[float, float] | None = None, longest: int | None = None) -> Any:
    """As `fact`, for what most calls do not have: None by default, and then not written."""
    metadata = {"definition": definition, "range": bounds, "longest": longest, "sparse": True}
    return dataclasses.field(default=None, metadata=metadata)


def others(definition: str) -> Any:
    """The field for keys that have no field: they are read into it and written beside the others. One a dataclass."""
    return dataclasses.field(default_factory=dict, metadata={"definition": definition, "others": True})


def finite(value: float) -> float | None:
    """The value; None where it is NaN or infinite, which JSON cannot hold."""
    return float(value) if math.isfinite(value) else None
