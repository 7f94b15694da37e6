"""Study files."""

from __future__ import annotations

import json
from collections.abc import Sequence

BOTH_CODECS = ("g711u", "opus:24000")
PLACES = (("Frankfurt", "London"),)
TOR3 = 'name = "tor3"\npath = "tor"'


def study_file(
    name: str,
    more: str = "",
    *,
    paths: Sequence[str] = (),
    codecs: Sequence[str] = ("g711u",),
    places: Sequence[tuple[str, str]] = PLACES,
) -> str:
    """A study of direct calls, and of calls over `paths` (each the lines of its table); `more` tables follow."""
    tables = "\n".join(f"[[path]]\n{lines}" for lines in ('name = "direct"\npath = "direct"', *paths))
    pairs = json.dumps(places, ensure_ascii=False)
    return f'version = 1\nname = "{name}"\n{tables}\n[axes]\ncodec = {json.dumps(codecs)}\nplaces = {pairs}\n{more}'
