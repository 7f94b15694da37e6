"""Fields of stored records: each has a definition, for the data dictionary, and a permitted range.

A fact about a call is a field of a frozen dataclass, set where the fact becomes known. These dataclasses nest: a path
returns the same object that the call collects and its record stores (`earwitness.archive.codec` writes it).
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

MS_RANGE = (-1e12, 1e12)
"""Thirty years either way. Anything beyond is not a time in a call, and sums of such values would overflow."""
LABEL = 200
"""Maximum length, in characters, of a text shown on axes and in headings."""


def fact(definition: str, bounds: tuple[float, float] | None = None, longest: int | None = None, **options: Any) -> Any:
    """A field with its definition and the range of its number or the length of its text; `options` go to `field`.

    The field is always written; None becomes null.
    """
    return dataclasses.field(metadata={"definition": definition, "range": bounds, "longest": longest}, **options)


def sparse(definition: str, bounds: tuple[float, float] | None = None, longest: int | None = None) -> Any:
    """Like `fact`, for a value that most calls lack: it defaults to None, which is not written."""
    metadata = {"definition": definition, "range": bounds, "longest": longest, "sparse": True}
    return dataclasses.field(default=None, metadata=metadata)


def others(definition: str) -> Any:
    """The field that collects unknown keys, which are written back beside the others. At most one per dataclass."""
    return dataclasses.field(default_factory=dict, metadata={"definition": definition, "others": True})


def finite(value: float) -> float | None:
    """The value, or None for NaN and infinities, which JSON cannot represent."""
    return float(value) if math.isfinite(value) else None
