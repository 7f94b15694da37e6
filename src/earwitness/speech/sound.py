"""Sound in memory, which a notebook shows as a player."""

from __future__ import annotations

import base64
import io
from typing import NamedTuple

from earwitness.arrays import Pcm

MOST_PLAYED_S = 300.0
"""A player holds its sound: a notebook with an hour in it is of no use."""


class Sound(NamedTuple):
    """`samples` (n,) int16, `sample_rate` in Hz."""

    samples: Pcm
    sample_rate: int

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return len(self.samples) / self.sample_rate

    def _repr_html_(self) -> str:
        return player(self.samples, self.sample_rate)


def player(samples: Pcm, sample_rate: int) -> str:
    """An HTML element that plays (n,) int16 at `sample_rate` Hz, the sound within it; the first five minutes."""
    kept = samples[: int(MOST_PLAYED_S * sample_rate)]
    content = base64.b64encode(flac(kept, sample_rate)).decode("ascii")
    cut = f" the first {MOST_PLAYED_S:.0f} s" if len(kept) < len(samples) else ""
    return f'<audio controls src="data:audio/flac;base64,{content}"></audio>{cut}'


def flac(samples: Pcm, sample_rate: int) -> bytes:
    """A FLAC file of (n,) int16 at `sample_rate` Hz: every browser plays it and it loses nothing."""
    import soundfile  # seldom needed where sound is computed

    stream = io.BytesIO()
    soundfile.write(stream, samples, sample_rate, format="FLAC", subtype="PCM_16", compression_level=0.8)
    return stream.getvalue()
