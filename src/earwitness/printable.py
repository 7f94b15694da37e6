"""Makes untrusted text harmless: control characters are shown as Python escapes.

A record, a remote phone or a file name may contain characters that control a terminal (ESC and the C1 controls:
ECMA-48; carriage return, backspace), bidirectional controls that reorder a line (Unicode UAX #9), or half of a
surrogate pair, which cannot be encoded.
"""

from __future__ import annotations

import re

_ACTING = (
    "\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f"  # C0 except tab and line feed, DEL, C1
    "\\u061c\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u206f"  # bidirectional and deprecated format controls
    "\\u2028\\u2029\\ufeff\\ufff9-\\ufffb"  # other line separators; invisible characters
    "\\ud800-\\udfff"  # surrogates: path bytes that are not UTF-8, or half a pair
)
ACTING = re.compile(f"[{_ACTING}]")


def visible(text: str) -> str:
    """The text with `\\x1b` for ESC, and so on; tab and line feed are unchanged."""
    return ACTING.sub(_escape, text)


def visible_json(text: str) -> str:
    """JSON text with the same characters as JSON escapes: the same value, without control characters."""
    return ACTING.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
