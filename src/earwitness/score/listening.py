"""Scores what was heard against what was said, at any supported sample rate; and the codec's own ceiling."""

from __future__ import annotations

from dataclasses import dataclass

from earwitness.arrays import Pcm
from earwitness.score.pesq import PesqScore, check_length, pesq_nb, pesq_wb
from earwitness.speech.codecs.base import Codec, decode_packets, encode_packets
from earwitness.speech.wav import resample


@dataclass(frozen=True)
class Listening:
    """Narrowband PESQ always; wideband MOS-LQO from 16 kHz on, else None."""

    pesq: PesqScore
    mos_lqo_wb: float | None

    @property
    def mos_lqo(self) -> float:
        """Narrowband MOS-LQO (P.862.1), 1.02..4.56."""
        return self.pesq.mos_lqo


def listening_quality(reference: Pcm, degraded: Pcm, sample_rate: int) -> Listening:
    """Score (n,) against (m,) int16, both at `sample_rate` Hz; raises `ScorerRefused`."""
    # Check before resampling, which takes at least eight bytes per sample.
    check_length("reference", reference, sample_rate)
    check_length("degraded sound", degraded, sample_rate)
    narrow = pesq_nb(resample(reference, sample_rate, 8000), resample(degraded, sample_rate, 8000), 8000)
    if sample_rate < 16000:
        return Listening(narrow, None)
    wide = pesq_wb(resample(reference, sample_rate, 16000), resample(degraded, sample_rate, 16000))
    return Listening(narrow, wide)


def loopback(codec: Codec, reference: Pcm) -> Listening:
    """The score of the codec alone for the reference, (n,) int16 at `codec.sample_rate`: a call's ceiling.

    Encoded and decoded without a network. It takes about 0.3 s for 30 s of speech, so cache it if many calls share
    codec and speech.
    """
    heard = decode_packets(codec, encode_packets(codec, reference))[: len(reference)]
    return listening_quality(reference, heard, codec.sample_rate)
