"""Blame: how much of a call's MOS each cause took, found by replaying the call with one more cause at a time.

From the speech itself (nothing lost) to what was heard, each step adds one cause. Its part is the difference between
the scores of two neighbouring replays, so the parts sum to the whole. A part can be negative: concealment usually
helps.

Causes follow the order in which they act. Codec and sending phone act before a packet is sent; a lost packet cannot be
late; when frames were played matters only for those that were; concealment fills the gaps left by all of these; PESQ's
own errors come last, because no listener hears them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from earwitness.arrays import Pcm
from earwitness.ear.hear import Heard
from earwitness.ear.payload import REFERENCE_OFFSET
from earwitness.replay.blame_sounds import Ideal, likeness, reassembled, said_in, without_concealment
from earwitness.score.kind import ScorerRefused
from earwitness.score.listening import listening_quality
from earwitness.speech.codecs.base import Codec, decode_packets, encode_packets
from earwitness.speech.codecs.registry import codec as codec_named
from earwitness.speech.wav import resample

CAUSES: dict[str, str] = {
    "codec": "the codec: encoded and decoded speech compared with the original",
    "sending": "the sending phone: silence suppression, and speech that it did not send",
    "loss": "packets that never arrived, replaced by silence",
    "late": "frames that arrived but were not played (too late, or discarded by the buffer), replaced by silence",
    "adaptation": "changing delay: speech interrupted, joined or stretched, with silence where nothing plays",
    "concealment": "the phone's concealment instead of silence; negative if it helps",
    "misalignment": "PESQ's failure to find the true delay where it changes, or the speech in a recording that starts"
    " in the middle of it: not heard by any listener",
}
"""The causes in the order in which they are added. From `sending` to `concealment` PESQ is given the true alignment:
the audio is compared with what was said at that time; in the last step it has to find the alignment itself."""

_GUESSED = (
    "lost packets are inferred from gaps in the sequence numbers; their audio is assumed to be the encoded speech"
)


_SEVERAL = (
    "the codec changes: `codec` is what the main one costs; what the others cost more or less is part of `sending`"
)

_ALIKE = 0.2
"""Correlation of what was sent with what was said: at least 0.3 for Speex, 0.8 for others; 0.03 for other audio."""
_UNLIKE = (
    "what was sent does not sound like the given speech: another reference, or the sending phone played something else"
)


@dataclass(frozen=True)
class Blame:
    """Scores of the replays and the loss due to each cause, in MOS-LQO (ITU-T P.862.1, narrowband).

    `whole` = `reference_mos` - `mos_lqo` = the sum of `parts`, whose keys are those of `CAUSES`, in order.
    """

    reference_mos: float
    """The speech compared with itself, about 4.55."""
    mos_lqo: float
    """The score of what was heard."""
    parts: dict[str, float]
    notes: tuple[str, ...] = ()
    figures: Mapping[str, float | str] = field(default_factory=dict)
    """Delays and shares of what was heard (`Heard.figures`)."""

    @property
    def whole(self) -> float:
        """The total loss."""
        return self.reference_mos - self.mos_lqo

    @property
    def sentence(self) -> str:
        """A summary for people."""
        return blame_sentence(self.parts, self.reference_mos, self.mos_lqo)

    def to_dict(self) -> dict[str, Any]:
        """Plain values: `blame_codec` ... `blame_misalignment`, their sum, and the sentence."""
        return {
            "reference_mos": self.reference_mos,
            "mos_lqo": self.mos_lqo,
            "blame_whole": self.whole,
            **{f"blame_{name}": part for name, part in self.parts.items()},
            "blame_sentence": self.sentence,
            **self.figures,
            "notes": "; ".join(self.notes),
        }


def blame(heard: Heard, codec: Codec, said: Pcm, *, reference_offset: int = REFERENCE_OFFSET) -> Blame:
    """Divide the MOS that one direction of a call lost among its causes.

    `said` (r,) int16 at the codec's rate: what was said, once; `reference_offset` as for `ear.hear`. Raises
    `ScorerRefused` if a replay cannot be scored (nothing arrived in time, a silent reference).
    """
    rate = heard.sample_rate
    said = resample(said, codec.sample_rate, rate)
    ideal = Ideal(heard, said, reference_offset)
    sent = ideal.all_sent()
    notes = heard.notes
    codec = heard.played.frames.as_sent(codec)
    if len(heard.played.frames.codecs) > 1:
        notes = (*notes, _SEVERAL)
    if len(ideal.unknown):
        notes = (*notes, _GUESSED)
        sent = ideal.with_unknown(sent, _looped_back(said, codec, rate))
    window = said_in(sent, said)
    if likeness(window, sent) < _ALIKE:
        notes = (*notes, _UNLIKE)
    aligned = (
        sent,
        ideal.all_arrived(),
        ideal.all_played(),
        reassembled(without_concealment(heard, said, reference_offset), ideal.first, ideal.length),
        reassembled(heard, ideal.first, ideal.length),
    )
    scores: dict[str, float] = {}
    ladder = [
        _against_itself(said.tobytes(), rate),
        _through_codec(said.tobytes(), codec.spec, rate),
        *(_score(window, sound, rate, scores) for sound in aligned),
        listening_quality(said, heard.audio, rate).pesq.mos_lqo,
    ]
    parts = {name: ladder[step] - ladder[step + 1] for step, name in enumerate(CAUSES)}
    return Blame(ladder[0], ladder[-1], parts, notes, heard.figures())


def blame_sentence(parts: dict[str, float], reference_mos: float, mos_lqo: float) -> str:
    """The largest causes, in words."""
    whole = reference_mos - mos_lqo
    if whole < 0.15:
        return f"MOS-LQO {mos_lqo:.2f} of {reference_mos:.2f}: almost nothing was lost."
    taken = sorted(((part, name) for name, part in parts.items() if part >= 0.1), reverse=True)
    losses = [f"{_SHORT[name]} took {part:.2f}" for part, name in taken]
    given = [f"{_SHORT[name]} gave back {-part:.2f}" for name, part in parts.items() if part <= -0.1]
    text = "; ".join([_joined(losses) or "no single cause took as much as 0.1", *given])
    return f"MOS-LQO {mos_lqo:.2f} of {reference_mos:.2f}, {whole:.2f} lost: {text}."


_SHORT = {
    "codec": "the codec",
    "sending": "what the sending phone did not send",
    "loss": "lost packets",
    "late": "packets too late to play",
    "adaptation": "the changing delay",
    "concealment": "concealment",
    "misalignment": "PESQ's own misalignment",
}


def _joined(texts: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(texts[:-1]), texts[-1]))) if texts else ""


def _looped_back(said: Pcm, codec: Codec, rate: int) -> Pcm:
    """What the codec alone makes of (n,) samples at `rate`, (n,)."""
    taken = resample(said, rate, codec.sample_rate)
    made = decode_packets(codec, encode_packets(codec, taken))[: len(taken)]
    return resample(made, codec.sample_rate, rate)[: len(said)]


def _score(said: Pcm, sound: Pcm, rate: int, scores: dict[str, float]) -> float:
    """MOS-LQO of an audio signal; equal signals are scored once."""
    key = hashlib.sha1(sound.tobytes(), usedforsecurity=False).hexdigest()
    if key not in scores:
        scores[key] = listening_quality(said, sound, rate).pesq.mos_lqo
    return scores[key]


@lru_cache(maxsize=16)
def _against_itself(said: bytes, rate: int) -> float:
    samples = np.frombuffer(said, dtype=np.int16)
    return listening_quality(samples, samples, rate).pesq.mos_lqo


@lru_cache(maxsize=16)
def _through_codec(said: bytes, spec: str, rate: int) -> float:
    samples = np.frombuffer(said, dtype=np.int16)
    return listening_quality(samples, _looped_back(samples, codec_named(spec), rate), rate).pesq.mos_lqo


__all__ = ["CAUSES", "Blame", "ScorerRefused", "blame", "blame_sentence"]
