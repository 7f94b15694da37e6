"""PESQ: perceptual evaluation of speech quality. Source: ITU-T P.862, P.862.1 (MOS-LQO), P.862.2 (wideband).

The score is the reference implementation's, on unmodified 16-bit samples. (The `pesq` package's own Python function
first divides both signals by their joint peak, which changes the score by up to 0.02.)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import exp, log
from pathlib import Path

import numpy as np

from earwitness.arrays import Pcm
from earwitness.errors import InputError
from earwitness.files import read_regular
from earwitness.score.kind import ScorerRefused
from earwitness.score.pesq_native import MAX_UTTERANCES, Measured, PesqCodeError, count_utterances, native_mos
from earwitness.speech.wav import MOST_FILE_BYTES

MOST_SECONDS = 90.0
"""P.862 is validated for 8 to 30 s; beyond 96 s the reference code may overrun its list of bad intervals."""
_SAFE_SECONDS = 20.0
"""An utterance and the gap after it last at least 0.4 s, so up to this length there cannot be more than 50."""
WAV_HEADER_BYTES = 44
"""Bytes that the reference program skips in every .wav file, whatever its header says."""


@dataclass(frozen=True)
class PesqScore:
    """A narrowband score."""

    raw: float
    """P.862 score, -0.5..4.5 for speech (the code returns lower values for other audio)."""
    mos_lqo: float
    """P.862.1 mapping of it, 1.02..4.56."""
    delay_ms: float
    """Median over utterances of the delay that PESQ's alignment found, ms."""
    delay_range_ms: float
    """Largest minus smallest of these delays: how much the delay changed during the call."""
    utterances: int
    """Utterances after splitting where the delay changes."""


def pesq_nb(reference: Pcm, degraded: Pcm, rate: int = 8000) -> PesqScore:
    """Narrowband PESQ of (n,) and (m,) int16 at `rate` 8,000 or 16,000 Hz; raises `ScorerRefused`."""
    found = _measured(reference, degraded, rate, wideband=False)
    delays = np.array(found.utterance_delays or (0,), dtype=np.float64) * 1000.0 / rate
    return PesqScore(found.raw, found.mos_lqo, float(np.median(delays)), float(np.ptp(delays)), len(delays))


def pesq_wb(reference: Pcm, degraded: Pcm) -> float:
    """Wideband MOS-LQO (P.862.2) of (n,) and (m,) int16 at 16 kHz; raises `ScorerRefused`."""
    return _measured(reference, degraded, 16000, wideband=True).mos_lqo


def pesq_as_published(reference: Path, degraded: Path) -> PesqScore:
    """The score of the reference program for two 8 kHz WAV files, including its faults.

    It skips 44 bytes of each file and reads the rest as 16-bit little-endian samples: the remainder of a longer header
    is scored as audio, and a header that declares 0 bytes of data has no effect. Raises `InputError` for a file that
    cannot be read or has no audio, `ScorerRefused` for a pair that cannot be scored.
    """
    return pesq_nb(samples_as_published(reference), samples_as_published(degraded), 8000)


def check_length(name: str, samples: Pcm, rate: int) -> None:
    """Raise `ScorerRefused` if the audio called `name` is too long for PESQ."""
    if len(samples) / rate > MOST_SECONDS:
        raise ScorerRefused(f"the {name} lasts {len(samples) / rate:.0f} s, more than {MOST_SECONDS:.0f}")


def samples_as_published(path: Path) -> Pcm:
    """What the reference program reads from a WAV file: (n,) int16 from byte 44 on. Raises `InputError`."""
    try:
        content = read_regular(path, MOST_FILE_BYTES)
    except OSError as error:
        raise InputError("reading the recording", path, error.strerror or error, "give a WAV file") from error
    if len(content) < WAV_HEADER_BYTES + 2:
        raise InputError("reading the recording", path, f"it has {len(content)} bytes and no sound", "give a WAV file")
    whole = (len(content) - WAV_HEADER_BYTES) // 2
    return np.frombuffer(content, dtype="<i2", count=whole, offset=WAV_HEADER_BYTES).astype(np.int16)


def mos_lqo_of_raw(raw: float) -> float:
    """P.862.1 equation 1."""
    return 0.999 + 4.0 / (1.0 + exp(-1.4945 * raw + 4.6607))


def raw_of_mos_lqo(mos_lqo: float) -> float:
    """The inverse of P.862.1 equation 1, for 0.999 < mos_lqo < 4.999; raises `ValueError` outside.

    A MOS-LQO with three decimals determines the raw score to 0.0004 at a MOS of 3 and to 0.02 at 1.02.
    """
    if not 0.999 < mos_lqo < 4.999:
        raise ValueError(f"no raw score maps to MOS-LQO {mos_lqo}")
    return (4.6607 - log(4.0 / (mos_lqo - 0.999) - 1.0)) / 1.4945


@lru_cache(maxsize=4)
def _utterances(reference: bytes, rate: int) -> int:
    """`count_utterances`, cached, because many calls share one reference."""
    return count_utterances(np.frombuffer(reference, dtype=np.float32), rate)


def _measured(reference: Pcm, degraded: Pcm, rate: int, *, wideband: bool) -> Measured:
    """Run the reference code if that is safe, else raise `ScorerRefused`."""
    if rate not in (8000, 16000):
        raise ScorerRefused(f"PESQ works at 8,000 and 16,000 Hz, not {rate}", "resample both sounds first")
    ready = []
    for name, samples in (("reference", reference), ("degraded sound", degraded)):
        if samples.ndim != 1:
            raise ScorerRefused(f"the {name} has {samples.ndim} dimensions", "give one channel of each")
        check_length(name, samples, rate)
        if not np.issubdtype(samples.dtype, np.integer) and not bool(np.all(np.isfinite(samples))):
            raise ScorerRefused(f"the {name} has samples that are not numbers", "check how it was made")
        if not len(samples) or int(samples.max()) == int(samples.min()):
            raise ScorerRefused(f"the {name} is silent", "there is nothing to score: check loss and the path")
        ready.append(np.ascontiguousarray(samples, dtype=np.float32))
    if len(reference) / rate > _SAFE_SECONDS and (count := _utterances(ready[0].tobytes(), rate)) > MAX_UTTERANCES:
        raise ScorerRefused(f"the reference has {count} utterances, more than PESQ's {MAX_UTTERANCES}")
    try:
        return native_mos(ready[0], ready[1], rate, wideband=wideband)
    except PesqCodeError as error:
        raise ScorerRefused(str(error)) from error
