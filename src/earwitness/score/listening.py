"""Scores what was heard against what was said, at any supported sample rates; and the codec's own ceiling."""

from __future__ import annotations

from dataclasses import dataclass

from earwitness.arrays import Pcm
from earwitness.score.pesq import PesqScore, check_length, pesq_nb, pesq_wb
from earwitness.speech.codecs.base import Codec, decode_packets, encode_packets
from earwitness.speech.wav import resample

NARROW_RATE, WIDE_RATE = 8000, 16000
"""The sample rates that P.862 has a mode for, Hz."""


@dataclass(frozen=True)
class Listening:
    """Narrowband PESQ always; wideband MOS-LQO where both sounds have at least 16 kHz, else None."""

    pesq: PesqScore
    mos_lqo_wb: float | None
    sample_rate: int = NARROW_RATE
    """Rate at which PESQ compared the sounds, Hz: the narrowband figure depends on it."""
    resampled: str = ""
    """What was converted to that rate: `48000 -> 16000`; empty: nothing."""

    @property
    def mos_lqo(self) -> float:
        """Narrowband MOS-LQO (P.862.1), 1.02..4.56."""
        return self.pesq.mos_lqo


def scored_rate(reference_rate: int, degraded_rate: int) -> int:
    """The rate at which PESQ compares two sounds: their own if both have 8 or both 16 kHz.

    The reference code takes only these two, and its narrowband score differs between them: at 16 kHz its filters and
    its bands also see what lies above 4 kHz. So no other sound gets the score that it would get there, and the rate is
    the higher one that neither sound must be raised to: 16 kHz if both have at least that, else 8 kHz.
    """
    return WIDE_RATE if min(reference_rate, degraded_rate) >= WIDE_RATE else NARROW_RATE


def resampling(reference_rate: int, degraded_rate: int, rate: int) -> str:
    """What was converted to `rate`, in words; empty if nothing was."""
    changed = [f"{one} -> {rate}" if one != rate else "" for one in (reference_rate, degraded_rate)]
    if changed[0] == changed[1]:
        return changed[0]
    return ", ".join(f"{name} {what}" for name, what in zip(("reference", "degraded"), changed, strict=True) if what)


def listening_quality(reference: Pcm, degraded: Pcm, sample_rate: int, reference_rate: int | None = None) -> Listening:
    """Score (n,) against (m,) int16, both at `sample_rate` Hz, or the reference at `reference_rate`.

    They are compared at `scored_rate`; raises `ScorerRefused`.
    """
    said_rate = sample_rate if reference_rate is None else reference_rate
    # Check before resampling, which takes at least eight bytes per sample.
    check_length("reference", reference, said_rate)
    check_length("degraded sound", degraded, sample_rate)
    rate = scored_rate(said_rate, sample_rate)
    said, heard = resample(reference, said_rate, rate), resample(degraded, sample_rate, rate)
    narrow = pesq_nb(said, heard, rate)
    wide = pesq_wb(said, heard) if rate == WIDE_RATE else None
    return Listening(narrow, wide, rate, resampling(said_rate, sample_rate, rate))


def loopback(codec: Codec, reference: Pcm) -> Listening:
    """The score of the codec alone for the reference, (n,) int16 at `codec.sample_rate`: a call's ceiling.

    Encoded and decoded without a network. It takes about 0.3 s for 30 s of speech, so cache it if many calls share
    codec and speech.
    """
    heard = decode_packets(codec, encode_packets(codec, reference))[: len(reference)]
    return listening_quality(reference, heard, codec.sample_rate)
