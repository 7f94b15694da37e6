"""Active speech level. Source: ITU-T P.56 (12/2011), method B."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from earwitness.arrays import Pcm
from earwitness.speech.samples import to_int16

_TIME_CONSTANT_S = 0.03
_HANGOVER_S = 0.2
_MARGIN_DB = 15.9
_THRESHOLDS = 2.0 ** np.arange(-15, 0)
"""P.56's thresholds c_j: half of full scale downwards in steps of 6.02 dB, for 16-bit samples."""

_BLOCK = 2**20
_ROW = 128
_SUMMED_AT_ONCE = 2**24

SILENCE_DBOV = -100.0
"""Level reported for a signal without activity."""


@dataclass(frozen=True)
class SpeechLevel:
    """Levels are in dBov: 0 is the power of a full-scale square wave (ITU-T G.100.1)."""

    active_dbov: float
    """Level of the active parts only."""
    mean_dbov: float
    """Level of the whole signal, including pauses."""
    activity: float
    """Active share of the time, 0..1."""


def speech_level(samples: Pcm, sample_rate: int) -> SpeechLevel:
    """P.56 method B for (n,) int16. A silent signal has activity 0 and `SILENCE_DBOV`."""
    power = _power(samples)
    if power == 0.0:
        return SpeechLevel(SILENCE_DBOV, SILENCE_DBOV, 0.0)
    counts = _active_samples(samples, sample_rate, int(np.ceil(_HANGOVER_S * sample_rate)))
    mean_dbov = _db(power / len(samples))
    # With each higher threshold fewer samples count as active, so their level A rises more slowly than the threshold C.
    # The active level is where A - C has fallen to the margin, between two thresholds.
    reached = counts > 0
    level = 10.0 * np.log10(power / counts[reached])
    above = level - 20.0 * np.log10(_THRESHOLDS[reached]) - _MARGIN_DB
    below = np.flatnonzero(above <= 0)
    if not len(below) or below[0] == 0:
        # Louder or softer than all thresholds: use the nearest one.
        active_dbov = float(level[-1] if not len(below) else level[0]) if len(level) else mean_dbov
    else:
        j = int(below[0])
        share = above[j - 1] / (above[j - 1] - above[j])
        active_dbov = float(level[j - 1] + share * (level[j] - level[j - 1]))
    return SpeechLevel(active_dbov, mean_dbov, min(1.0, float(10.0 ** ((mean_dbov - active_dbov) / 10.0))))


def at_level(samples: Pcm, sample_rate: int, dbov: float = -26.0) -> Pcm:
    """The same speech with its active level at `dbov`; P.862 asks for -26 dBov in a reference."""
    gain = 10.0 ** ((dbov - speech_level(samples, sample_rate).active_dbov) / 20.0)
    return to_int16(np.asarray(samples, dtype=np.float64) * gain)


def _power(samples: Pcm) -> float:
    """The sum of squares, relative to full scale."""
    total = 0.0
    for begin in range(0, len(samples), _SUMMED_AT_ONCE):
        x = np.asarray(samples[begin : begin + _SUMMED_AT_ONCE], dtype=np.float64) / 32768.0
        total += float(np.dot(x, x))
    return total


def _envelopes(samples: Pcm, sample_rate: int, block: int) -> Iterator[NDArray[np.float64]]:
    """The magnitude, exponentially smoothed twice, in blocks; the filter states carry over."""
    g = float(np.exp(-1.0 / (sample_rate * _TIME_CONSTANT_S)))
    first = second = 0.0
    for begin in range(0, len(samples), block):
        x = np.asarray(samples[begin : begin + block], dtype=np.float64) / 32768.0
        once, first = smoothed(np.abs(x), g, first)
        twice, second = smoothed(once, g, second)
        yield twice


def smoothed(x: NDArray[np.float64], g: float, last: float = 0.0) -> tuple[NDArray[np.float64], float]:
    """y[n] = g y[n-1] + (1 - g) x[n] for (n,) x, starting from output `last`; returns (n,) y and the last output.

    Implemented in numpy, because nothing else in the core needs SciPy: within a row of samples, y is a product with the
    impulse response, and the end of each row decays through the next one.
    """
    if not len(x):
        return x, last
    rows = np.zeros((-(-len(x) // _ROW), _ROW))
    rows.reshape(-1)[: len(x)] = x
    decay = g ** np.arange(_ROW + 1)
    since = np.subtract.outer(np.arange(_ROW), np.arange(_ROW))
    y = rows @ np.where(since >= 0, (1.0 - g) * decay[np.abs(since)], 0.0).T
    before = list(accumulate(y[:-1, -1].tolist(), lambda end, own: own + decay[-1] * end, initial=last))
    y += np.outer(before, decay[1:])
    made = y.reshape(-1)[: len(x)]
    return made, float(made[-1])


def _active_samples(samples: Pcm, sample_rate: int, hangover: int, block: int = _BLOCK) -> NDArray[np.float64]:
    """For each threshold, the number of samples whose envelope reaches it, or that lie in the hangover after such a
    one."""
    counts = np.zeros(len(_THRESHOLDS))
    latest = np.full(len(_THRESHOLDS), -hangover - 1)
    begin = 0
    for envelope in _envelopes(samples, sample_rate, block):
        index = np.arange(begin, begin + len(envelope))
        for j, threshold in enumerate(_THRESHOLDS):
            last = np.maximum.accumulate(np.where(envelope >= threshold, index, latest[j]))
            counts[j] += np.count_nonzero(index - last <= hangover)
            latest[j] = last[-1]
        begin += len(envelope)
    return counts


def _db(power: float) -> float:
    return float(10.0 * np.log10(power))
