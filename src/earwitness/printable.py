"""Text of strangers in a form that does nothing: characters that act are shown as the escapes that Python has for them.

A record, a far phone or a file's name may hold what a terminal obeys (ESC and the C1 controls: ECMA-48; carriage
return, backspace), what turns the order of a line round (the bidirectional controls of Unicode's UAX #9), or half of a
surrogate pair, which no file can hold.
"""

from __future__ import annotations

import re

_ACTING = (
    "\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f"  # C0 but tab and line feed, DEL, C1
    "\\u061c\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u206f"  # bidirectional and deprecated format controls
    "\\u2028\\u2029\\ufeff\\ufff9-\\ufffb"  # other ends of line; invisible
    "\\ud800-\\udfff"  # surrogates: bytes of a path that are no UTF-8, or half a pair
)
ACTING = re.compile(f"[{_ACTING}]")


def visible(text: str) -> str:
    """The text with `\\x1b` for an ESC, and so on; a tab and a line feed stay as they are."""
    return ACTING.sub(_escape, text)


def visible_json(text: str) -> str:
    """JSON text with JSON's own escapes for the same characters: the same value, and nothing in it acts."""
    return ACTING.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
