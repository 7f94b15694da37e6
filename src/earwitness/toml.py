"""Parse TOML given by users. Python's parser takes minutes for a key of 60,000 parts, and overflows on deep nesting."""

from __future__ import annotations

import re
import tomllib
from typing import Any

_PART = r"""(?:[A-Za-z0-9_-]++|"[^"\n]*+"|'[^'\n]*+')"""
_DEEP_KEY = re.compile(rf"(?<![A-Za-z0-9_-]){_PART}(?:[ \t]*+\.[ \t]*+{_PART}){{64}}")


def parse_toml(text: str) -> dict[str, Any]:
    """The values in a TOML text. Raises `ValueError` with a one-line message if it is invalid."""
    if _DEEP_KEY.search(text):
        raise ValueError("a key has more than 64 parts")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("the nesting is too deep") from None
