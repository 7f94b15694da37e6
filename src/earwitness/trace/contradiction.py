"""Whether packets can be of the codec that their number or clock suggests: Opus (RFC 7587), Speex (RFC 5574).

A dynamic number means what the two ends agreed on. Where no description was captured, the number or the clock gives a
guess; heard as another codec, the packets are noise with a good score.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from earwitness.arrays import I64, U8, Bool
from earwitness.trace.bytewindow import window
from earwitness.trace.model import Trace
from earwitness.trace.steps import steps, usual

_LEAST = 8
"""Fewest consecutive packets that contradict a guess ..."""
_MOST_WRONG = 0.25
"""... and the part of them that may be odd."""
_OPUS_UNITS = np.array([*((4, 8, 16, 24) * 3), *((4, 8) * 2), *((1, 2, 4, 8) * 4)], dtype=np.int64)
"""Duration of a frame of each configuration in units of 2.5 ms (RFC 6716 table 2)."""
_SPEEX_MODES = (*range(9), 13, 14, 15)
"""Submodes of a narrowband frame: the codec's own, in-band messages and the terminator (Speex manual 9.4)."""


_PACKETS = {"opus": (120, 5760), "speex": (160, 3200)}
"""What the length of a packet is a multiple of, and at most, in ticks of the codec's own clock."""


def contradiction(trace: Trace, rows: I64, name: str, encrypted: Callable[[], bool]) -> str:
    """Why packets `rows` (k,) of a stream are not of this codec, as far as their timestamps and first bytes tell; empty
    if they may be, and for other codecs.

    `encrypted`: whether the packets look encrypted, so that their bytes say nothing; asked only where these do not fit.
    """
    if name not in _PACKETS:
        return ""
    unit, most = _PACKETS[name]
    follows = np.flatnonzero((steps(trace.sequence[rows]) == 1) & (steps(trace.timestamp[rows]) > 0))
    ticks = steps(trace.timestamp[rows])[follows]
    if len(follows) < _LEAST:
        return ""
    step = usual(ticks) or 0
    odd = np.count_nonzero(ticks % unit) > _MOST_WRONG * len(ticks)
    if (odd and step % unit) or step > most:
        return f"its timestamps go on by {step}, which no packet of it lasts"
    if trace.payloads is None:
        return ""
    packets = rows[follows]
    captured = trace.payloads.captured[packets] >= 2
    packets, ticks = packets[captured], ticks[captured]
    if len(packets) < _LEAST:
        return ""
    first = window(trace.payloads.data, trace.payloads.start[packets], 2)
    wrong = _no_opus(first, ticks // unit) if name == "opus" else ~np.isin(first[:, 0] >> 3, _SPEEX_MODES)
    other = np.count_nonzero(wrong) > _MOST_WRONG * len(packets) and not encrypted()
    return "its packets do not begin like it" if other else ""


def _no_opus(first: U8, units: I64) -> Bool:
    """Which packets, by their first two bytes (k, 2), claim no audio, or more than the time to the next, (k,) units of
    2.5 ms (RFC 6716 3.1, 3.2)."""
    code, several = first[:, 0] & 3, first[:, 1] & 63
    frames = np.where(code == 3, several, np.where(code == 0, 1, 2))
    claimed = frames * _OPUS_UNITS[first[:, 0] >> 3]
    return np.asarray((claimed == 0) | (claimed > units))
