"""What a recording lacks of the speech that it is compared with, because it begins after it or ends before it.

PESQ counts that as lost without a word: a perfect recording of 7 of 9.3 seconds of shipped speech scores 2.3.
"""

from __future__ import annotations

import numpy as np

from earwitness.arrays import Pcm
from earwitness.speech.level import SILENCE_DBOV, speech_level

_LEAST_S = 0.1
"""Speech whose absence is worth a word: it costs up to half a MOS in 10 s."""
_FRAME_S = 0.02
_BELOW_DB = 20.0
"""A frame this far below the active level is no speech."""


def missing_speech(said: Pcm, heard: Pcm, sample_rate: int, delay_ms: float | None) -> str:
    """What to say of the speech in `said` (n,) before `heard` (m,) begins and after it ends; empty if that is little.

    Both int16 at `sample_rate` Hz. `delay_ms`: how much later `heard` is, as PESQ aligned them; negative if it begins
    within the speech; None: unknown, taken as 0.
    """
    begin = min(max(0, round(-(delay_ms or 0.0) * sample_rate / 1000)), len(said))
    level = speech_level(said, sample_rate).active_dbov
    if level <= SILENCE_DBOV:
        return ""
    before, after = (_speech_s(part, sample_rate, level) for part in (said[:begin], said[begin + len(heard) :]))
    told = [f"{spoken:.1f} s {where}" for spoken, where in ((before, "at its start"), (after, "at its end"))
            if spoken > _LEAST_S - _FRAME_S / 2]  # fmt: skip
    if not told:
        return ""
    return f"the sound lacks speech that the reference has, {' and '.join(told)}, which counts as lost in the score"


def _speech_s(part: Pcm, sample_rate: int, level_dbov: float) -> float:
    """Seconds of frames near the active level."""
    length = round(_FRAME_S * sample_rate)
    whole = len(part) // length
    frames = part[: whole * length].reshape(whole, length).astype(np.float64) / 32768.0
    loud = np.mean(frames * frames, axis=1) > 10.0 ** ((level_dbov - _BELOW_DB) / 10.0)
    return float(np.count_nonzero(loud)) * _FRAME_S
