"""Detects speech frames: a simple, causal, deterministic voice activity detector for silence suppression.

It compares the energy with an adaptive noise floor and adds a hangover, like the detectors of softphones; it does not
aim at the accuracy of G.729 Annex B. In doubt it sends: a soft onset should be sent rather than lost.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from earwitness.arrays import Pcm


@dataclass(frozen=True)
class ActivityRule:
    """When a frame counts as speech. Levels are in dBov."""

    margin_db: float = 9.0
    """Speech exceeds the noise floor by at least this ..."""
    least_dbov: float = -56.0
    """... and this absolute level: 30 dB below P.862's active level."""
    floor_rise_db_per_s: float = 5.0
    """How fast the floor may rise to a new noise level; it falls immediately."""
    highest_floor_dbov: float = -40.0
    """Steady sound above this level counts as speech."""
    hangover_ms: int = 200
    """Time to keep sending after the last speech frame, to preserve word endings."""


def speech_frames(
    samples: Pcm, sample_rate: int, frame_ms: int = 20, rule: ActivityRule | None = None
) -> NDArray[np.bool_]:
    """Which complete frames of (n,) int16 to send, (n // frame samples,) bool.

    Causal: the decision for a frame depends only on it and earlier frames, so a live sender gets the same result.
    """
    rule = rule or ActivityRule()
    length = sample_rate * frame_ms // 1000
    whole = len(samples) // length
    frames = samples[: whole * length].reshape(whole, length).astype(np.float64) / 32768.0
    levels = 10.0 * np.log10(np.mean(frames * frames, axis=1) + 1e-10)
    hangover = rule.hangover_ms // frame_ms
    rise = rule.floor_rise_db_per_s * frame_ms / 1000.0
    active = np.zeros(whole, dtype=np.bool_)
    floor, since = rule.highest_floor_dbov, hangover + 1
    for index, level in enumerate(levels.tolist()):
        floor = min(level, floor + rise, rule.highest_floor_dbov)
        since = 0 if level > max(floor + rule.margin_db, rule.least_dbov) else since + 1
        active[index] = since <= hangover
    return active
