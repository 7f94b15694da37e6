"""Comfort noise (RFC 3389): what a phone plays in a pause whose background noise the sender describes.

A packet of payload type 13 carries a level and the reflection coefficients of the noise spectrum. From its timestamp
on, until speech resumes, every frame length without a frame is filled with noise of that level and spectrum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from earwitness.arrays import F64, I64, Pcm
from earwitness.ear.replay import Replay
from earwitness.trace.model import Trace
from earwitness.trace.payload_types import COMFORT_NOISE

OVERLOAD = 4 * 8031
"""0 dBov is a square wave of this amplitude, the mu-law maximum (RFC 3389 3.1), in 16 bits."""
NO_NOISE = -1
_BLOCK = 1 << 20
"""Samples generated at once."""
_MOST_ORDER = 10
"""Reflection coefficients used: as many as ITU-T G.711 Appendix II sends; RFC 3389 3 permits using fewer."""


@dataclass(frozen=True)
class Noise:
    """The noise described by one packet: `rms` in samples, `reflection` coefficients in -1 ... 1, none for white
    noise."""

    rms: float
    reflection: tuple[float, ...] = ()

    @classmethod
    def parse(cls, payload: bytes) -> Noise | None:
        """Parse a payload of any bytes; None if it is empty (RFC 3389 3.1 to 3.3).

        Coefficients from the first one that would make the filter unstable are ignored: 255 is not a valid coefficient
        (it would exceed 1), and several close to 1 exceed the precision of 64 bits.
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
        """The coefficients (1, a1, ...) of the all-pole filter 1 / (1 + a1 z^-1 + ...) that colours white noise."""
        a = np.ones(1)
        for k in self.reflection:
            a = np.append(a, 0.0)
            a = a + k * a[::-1]
        return a

    @property
    def stable(self) -> bool:
        """Whether the filter is stable: all its poles lie within the unit circle, to numerical precision."""
        return bool(np.all(np.abs(np.roots(self.synthesis)) < 1.0))

    @property
    def excitation_rms(self) -> float:
        """Level of the white noise that leaves the filter at `rms`: each stage k has a gain of 1 / sqrt(1 - k^2)."""
        return self.rms * float(np.sqrt(np.prod([1.0 - k * k for k in self.reflection])))


class ComfortNoise:
    """Noise generator for one stream: mutable, deterministic for a given `seed`."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._noise: Noise | None = None
        self._memory: list[float] = []

    def make(self, noise: Noise, samples: int) -> Pcm:
        """(samples,) int16 of this noise, continuing what was made before if it was the same noise."""
        if noise != self._noise:
            # The state of one filter could make another ring far above its level.
            self._noise, self._memory = noise, [0.0] * len(noise.reflection)
        if samples > _BLOCK:
            blocks = [min(_BLOCK, samples - at) for at in range(0, samples, _BLOCK)]
            return np.concatenate([self.make(noise, block) for block in blocks])
        sound = self._random.standard_normal(samples) * noise.excitation_rms
        if noise.reflection:
            sound, self._memory = coloured(sound, noise.synthesis, self._memory)
        return np.clip(np.rint(sound), -32768, 32767).astype(np.int16)


def coloured(sound: F64, synthesis: F64, memory: list[float]) -> tuple[F64, list[float]]:
    """Filter (n,) sound with 1 / (1 + a1 z^-1 + ...); also returns the (p,) state. `synthesis` is (1, a1, ..., ap).

    Transposed direct form, sample by sample, as in `scipy.signal.lfilter`: 1 to 3 us per sample. Faster ways (rows at a
    time) fail for the near-unstable filters that a packet may ask for; SciPy is not a core dependency.
    """
    feedback = synthesis[1:].tolist()
    made = []
    for sample in sound.tolist():
        out = sample + memory[0]
        made.append(out)
        memory = [following - a * out for following, a in zip((*memory[1:], 0.0), feedback, strict=True)]
    return np.array(made), memory


def noise_in_force(trace: Trace, played: Replay) -> tuple[I64, dict[int, Noise]]:
    """Which noise fills each pull: (k,) rows of the trace or `NO_NOISE`, and the noises by row.

    A comfort-noise packet applies if it had arrived when the pull was requested, was sent after the last frame played,
    and its timestamp has been reached; of several, the last one applies.
    """
    k = len(played)
    which: I64 = np.full(k, NO_NOISE, dtype=np.int64)
    rows = _noise_packets(trace)
    handed = np.flatnonzero(played.frame >= 0)
    if not len(rows) or not len(handed):
        return which, {}
    frames, ticks = played.frames, played.frames.stream.frame_ticks
    after = np.searchsorted(handed, np.arange(k), side="right") - 1
    pulls = np.flatnonzero((after >= 0) & (played.frame < 0))
    last = handed[after[pulls]]
    sequence = trace.sequence[frames.packet[played.frame[last]]]
    # Media time as a clock that kept running since the last frame, whether or not the buffer's did.
    instant = played.end[last] + (pulls - last - 1) * ticks
    found = _latest(trace, rows, played.asked_ns[pulls], instant)
    there = found != NO_NOISE
    there[there] = trace.sequence[found[there]] > sequence[there]
    which[pulls[there]] = found[there]
    assert trace.payloads is not None
    parsed = {row: Noise.parse(trace.payloads[row]) for row in np.unique(which[which >= 0]).tolist()}
    return which, {row: noise for row, noise in parsed.items() if noise is not None}


def _noise_packets(trace: Trace) -> I64:
    """The rows of comfort-noise packets that arrived with known bytes, in order of sending."""
    if trace.payloads is None:
        return np.zeros(0, dtype=np.int64)
    known = np.isin(trace.payload_type, COMFORT_NOISE) & trace.arrived & (trace.payloads.captured > 0)
    rows = np.flatnonzero(known)
    return rows[np.argsort(trace.sequence[rows], kind="stable")]


def _latest(trace: Trace, rows: I64, asked_ns: I64, instant: I64) -> I64:
    """For each pull, the last of `rows` in order of sending that had arrived and whose timestamp was reached, (p,).

    Packets are inserted as they arrive into a tree of the latest one up to each timestamp (Fenwick 1994), so that a
    flood of them costs logarithmic time each.
    """
    stamps, place = np.unique(trace.timestamp[rows], return_inverse=True)
    up_to = np.searchsorted(stamps, instant, side="right").tolist()
    size = len(stamps)
    tree = [NO_NOISE] * (size + 1)
    order = np.argsort(trace.arrived_ns[rows], kind="stable")
    coming = zip(trace.arrived_ns[rows][order].tolist(), order.tolist(), place[order].tolist(), strict=True)
    packet = next(coming, None)
    found = np.full(len(asked_ns), NO_NOISE, dtype=np.int64)
    asked = asked_ns.tolist()
    for pull in np.argsort(asked_ns, kind="stable").tolist():
        while packet is not None and packet[0] <= asked[pull]:
            _, rank, at = packet
            at += 1
            while at <= size:
                tree[at] = max(tree[at], rank)
                at += at & -at
            packet = next(coming, None)
        best, at = NO_NOISE, up_to[pull]
        while at:
            best = max(best, tree[at])
            at &= at - 1
        found[pull] = best
    return np.where(found == NO_NOISE, NO_NOISE, rows[found])
