"""Log-spectral distance: how far the spectra of what was heard are from those of what was said."""

from __future__ import annotations

import numpy as np

from earwitness.arrays import F64, Pcm
from earwitness.score.find import find_reference
from earwitness.score.kind import Evidence, ScorerKind, ScorerRefused, both_sounds

FRAME_MS = 32
QUIET_DB = 40.0
"""Frames of the reference that are so much below its loudest one are silence, and not looked at."""


def spectra(samples: Pcm | F64, frame: int) -> F64:
    """Power of each whole frame by frequency, dB, (frames, frame // 2 + 1)."""
    whole = samples[: len(samples) // frame * frame].reshape(-1, frame) * np.hanning(frame)
    return np.asarray(10.0 * np.log10(np.abs(np.fft.rfft(whole)) ** 2 + 1e3))


def aligned(said: Pcm, heard: Pcm, sample_rate: int) -> tuple[Pcm, F64]:
    """What was said, and the same stretch of what was heard: to 8 ms by their envelopes, then to the sample."""
    begins, near = find_reference(said, heard, sample_rate), sample_rate * 8 // 1000
    padded = np.pad(heard, (near + max(0, -begins), near)).astype(np.float64)[max(0, begins) :]
    length = min(len(said), len(padded) - 2 * near)
    if length <= 0:
        raise ScorerRefused("nothing of what was said is in what was heard", "look at the sound", "lsd")
    likeness = np.correlate(padded[: length + 2 * near], said[:length].astype(np.float64), "valid")
    at = int(np.argmax(likeness))
    return said[:length], padded[at : at + length]


def log_spectral_distance(evidence: Evidence) -> float:
    """Mean over frames with speech of the root mean square difference over frequencies, dB; 0: the same."""
    said, heard = aligned(*both_sounds(evidence, "lsd"), evidence.sample_rate)
    frame = evidence.sample_rate * FRAME_MS // 1000
    theirs, ours = spectra(said, frame), spectra(heard, frame)
    if not len(theirs):
        raise ScorerRefused(f"less than {FRAME_MS} ms of what was said were heard", "look at the sound", "lsd")
    loudness = theirs.max(axis=1)
    spoken = loudness > loudness.max() - QUIET_DB
    return float(np.mean(np.sqrt(np.mean((ours[spoken] - theirs[spoken]) ** 2, axis=1))))


LSD = ScorerKind(
    name="lsd",
    summary="log-spectral distance of what was heard from what was said; 0: the same",
    unit="dB",
    heading="LSD dB",
    score=log_spectral_distance,
    digits=1,
)
