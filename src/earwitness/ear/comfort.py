"""Comfort noise (RFC 3389): what a phone plays in a pause of which the far end describes the background noise.

A packet of payload type 13 carries a level and reflection coefficients of the noise's spectrum. From its instant on,
until speech goes on, every frame length of playing without a frame is noise of that level and spectrum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from earwitness.ear.replay import Replay
from earwitness.trace.model import Trace
from earwitness.trace.payload_types import COMFORT_NOISE

Pcm = NDArray[np.int16]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

OVERLOAD = 4 * 8031
"""0 dBov is a square wave of this amplitude, the loudest that mu-law has (RFC 3389 3.1), in 16 bits."""
NO_NOISE = -1
_MOST_ORDER = 10
"""Reflection coefficients that are used: as many as ITU-T G.711 Appendix II sends; RFC 3389 3 permits to use fewer."""


@dataclass(frozen=True)
class Noise:
    """The noise that one packet describes: `rms` in samples, `reflection` coefficients, -1 ... 1, none for white."""

    rms: float
    reflection: tuple[float, ...] = ()

    @classmethod
    def parse(cls, payload: bytes) -> Noise | None:
        """A payload as noise, of any bytes; None for an empty one (RFC 3389 3.1 to 3.3).

        Coefficients from the first one on that make a filter which would not come to rest are left out: 255 is no
        coefficient (it would be above 1), and several near 1 are more than 64 bits hold.
        """
        if not payload:
            return None
        noise = cls(OVERLOAD * 10.0 ** (-(payload[0] & 0x7F) / 20.0))
        for byte in payload[1 : 1 + _MOST_ORDER]:
            longer = cls(noise.rms, (*noise.reflection, 258 * (byte - 127) / 32768))
            if not longer.stable:
                break
            noise = longer
        return noise

    @property
    def synthesis(self) -> F64:
        """1 and the coefficients a of the all-pole filter 1 / (1 + a1 z^-1 + ...) that colours white noise."""
        a = np.ones(1)
        for k in self.reflection:
            a = np.append(a, 0.0)
            a = a + k * a[::-1]
        return a

    @property
    def stable(self) -> bool:
        """Whether the filter's sound dies away: all its poles are within the unit circle, as far as they are known."""
        return bool(np.all(np.abs(np.roots(self.synthesis)) < 1.0))

    @property
    def excitation_rms(self) -> float:
        """Level of the white noise that comes out of the filter at `rms`: each stage k gains 1 / sqrt(1 - k^2)."""
        return self.rms * float(np.sqrt(np.prod([1.0 - k * k for k in self.reflection])))


class ComfortNoise:
    """Noise for one stream: mutable, the same for the same `seed`."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._noise: Noise | None = None
        self._memory: F64 = np.zeros(0)

    def make(self, noise: Noise, samples: int) -> Pcm:
        """(samples,) int16 of it, going on from what was made before where that was the same noise."""
        if noise != self._noise:
            # What one filter remembers may set another ringing, far above its level.
            self._noise, self._memory = noise, np.zeros(len(noise.reflection))
        sound = self._random.standard_normal(samples) * noise.excitation_rms
        if noise.reflection:
            from scipy.signal import lfilter  # half a second to import, for what few calls have

            sound, self._memory = lfilter([1.0], noise.synthesis, sound, zi=self._memory)
        return np.clip(np.rint(sound), -32768, 32767).astype(np.int16)


def noise_in_force(trace: Trace, played: Replay) -> tuple[I64, dict[int, Noise]]:
    """Which noise fills each pull: (k,) rows of the trace or `NO_NOISE`, and the noises by row.

    A comfort-noise packet is in force where it had arrived when the pull was asked for, comes after the last frame
    played in order of sending, and its own instant has come; of several the last.
    """
    k = len(played)
    which: I64 = np.full(k, NO_NOISE, dtype=np.int64)
    noises = _noises(trace)
    handed = np.flatnonzero(played.frame >= 0)
    if not noises or not len(handed):
        return which, {}
    rows = np.array(sorted(noises, key=lambda row: int(trace.sequence[row])), dtype=np.int64)
    frames, ticks = played.frames, played.frames.stream.frame_ticks
    after = np.searchsorted(handed, np.arange(k), side="right") - 1
    begun = (after >= 0) & (played.frame < 0)
    last = handed[np.maximum(after, 0)]
    sequence = trace.sequence[frames.packet[played.frame[last]]]
    # Media time as a clock that has run on since the last frame, whether the buffer's does or not.
    instant = played.end[last] + (np.arange(k) - last - 1) * ticks
    for row in rows.tolist():
        here = trace.arrived_ns[row] <= played.asked_ns
        which[begun & here & (trace.sequence[row] > sequence) & (trace.timestamp[row] <= instant)] = row
    return which, noises


def _noises(trace: Trace) -> dict[int, Noise]:
    """The noise in each comfort-noise packet that arrived and whose payload is known, by row."""
    if trace.payloads is None:
        return {}
    rows = np.flatnonzero(np.isin(trace.payload_type, COMFORT_NOISE) & trace.arrived)
    found = {int(row): Noise.parse(trace.payloads[int(row)]) for row in rows}
    return {row: noise for row, noise in found.items() if noise is not None}
