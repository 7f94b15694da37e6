"""Blame: which cause took how much of a call's MOS, by replaying the call with one cause after the other put back.

From the speech itself (nothing lost) to what was heard, one cause a step; each part is the difference of the scores of
two neighbouring replays, so the parts sum to the whole. A part can be negative: concealment mostly gives back.

The order, and why: a cause comes after those that happen before it. What the codec and the far phone do is done before
a packet is on its way; a lost packet was never there to be late; when frames were played matters only for those that
were; concealment fills what all these left empty; and PESQ's own mistakes come last, since nobody hears them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from earwitness.arrays import Pcm
from earwitness.ear.hear import Heard
from earwitness.ear.payload import REFERENCE_OFFSET
from earwitness.replay.blame_sounds import Ideal, likeness, reassembled, said_in, without_concealment
from earwitness.score.kind import ScorerRefused
from earwitness.score.listening import listen, loopback
from earwitness.speech.codecs.base import Codec, decode_packets, encode_packets
from earwitness.speech.codecs.registry import codec as codec_named

CAUSES: dict[str, str] = {
    "codec": "the codec: the speech through it and back, against the speech itself",
    "sending": "the far phone: silence suppression, and what it did not send of the speech",
    "loss": "packets that never arrived, as silence",
    "late": "frames that arrived and were not played (too late, or thrown away by the buffer), as silence",
    "adaptation": "the delay changing: speech interrupted, run together or stretched, with silence where nothing plays",
    "concealment": "what the phone made up, instead of silence; negative where it helps",
    "misalignment": "PESQ not finding the true delay where it changes, or the speech in a recording that begins in the"
    " middle of it: no listener's loss",
}
"""The causes in the order in which they are put back. From `sending` to `concealment` PESQ is shown the true alignment:
the sound against what was said at each instant of it; for the last it has to find out by itself."""

_GUESSED = "lost packets are known only from holes in the sequence numbers; their sound is the codec's of the speech"


_ALIKE = 0.2
"""Correlation of what was sent with what was said: from 0.3 for Speex, from 0.8 for others, 0.03 for other sounds."""
_UNLIKE = (
    "what was sent does not sound like the speech given: another reference, or the far phone played something else"
)


@dataclass(frozen=True)
class Blame:
    """Scores of the replays and what each cause took, in MOS-LQO (ITU-T P.862.1, narrowband).

    `whole` = `reference_mos` - `mos_lqo` = the sum of `parts`, whose keys are those of `CAUSES`, in order.
    """

    reference_mos: float
    """The speech against itself, about 4.55."""
    mos_lqo: float
    """What was heard."""
    parts: dict[str, float]
    notes: tuple[str, ...] = ()

    @property
    def whole(self) -> float:
        """All that was lost."""
        return self.reference_mos - self.mos_lqo

    @property
    def sentence(self) -> str:
        """For a person."""
        return blame_sentence(self.parts, self.reference_mos, self.mos_lqo)

    def to_dict(self) -> dict[str, Any]:
        """As plain values: `blame_codec` ... `blame_misalignment`, their sum, and the sentence."""
        return {
            "reference_mos": self.reference_mos,
            "mos_lqo": self.mos_lqo,
            "blame_whole": self.whole,
            **{f"blame_{name}": part for name, part in self.parts.items()},
            "blame_sentence": self.sentence,
            "notes": "; ".join(self.notes),
        }


def blame(heard: Heard, codec: Codec, said: Pcm, *, reference_offset: int = REFERENCE_OFFSET) -> Blame:
    """Share out the MOS that one direction of a call lost.

    `said` (r,) int16 at the codec's rate: what was said, once; `reference_offset` as for `ear.hear`. Raises
    `ScorerRefused` where a replay cannot be scored (nothing arrived in time at all, a silent reference).
    """
    rate = codec.sample_rate
    ideal = Ideal(heard, codec, said, reference_offset)
    sent = ideal.all_sent()
    notes = heard.notes
    if len(ideal.unknown):
        notes = (*notes, _GUESSED)
        sent = ideal.with_unknown(sent, decode_packets(codec, encode_packets(codec, said))[: len(said)])
    window = said_in(sent, said)
    if likeness(window, sent) < _ALIKE:
        notes = (*notes, _UNLIKE)
    aligned = (
        sent,
        ideal.all_arrived(),
        ideal.all_played(),
        reassembled(without_concealment(heard, codec, said, reference_offset), ideal.first, ideal.length),
        reassembled(heard, ideal.first, ideal.length),
    )
    scores: dict[str, float] = {}
    ladder = [
        _against_itself(said.tobytes(), rate),
        _through_codec(said.tobytes(), codec.spec),
        *(_score(window, sound, rate, scores) for sound in aligned),
        listen(said, heard.audio, rate).pesq.mos_lqo,
    ]
    parts = {name: ladder[step] - ladder[step + 1] for step, name in enumerate(CAUSES)}
    return Blame(ladder[0], ladder[-1], parts, notes)


def blame_sentence(parts: dict[str, float], reference_mos: float, mos_lqo: float) -> str:
    """What took most, in words."""
    whole = reference_mos - mos_lqo
    if whole < 0.15:
        return f"MOS-LQO {mos_lqo:.2f} of {reference_mos:.2f}: next to nothing was lost."
    taken = sorted(((part, name) for name, part in parts.items() if part >= 0.1), reverse=True)
    told = [f"{_SHORT[name]} took {part:.2f}" for part, name in taken]
    given = [f"{_SHORT[name]} gave back {-part:.2f}" for name, part in parts.items() if part <= -0.1]
    text = "; ".join([_joined(told) or "no single cause took as much as 0.1", *given])
    return f"MOS-LQO {mos_lqo:.2f} of {reference_mos:.2f}, {whole:.2f} lost: {text}."


_SHORT = {
    "codec": "the codec",
    "sending": "what the far phone left out",
    "loss": "lost packets",
    "late": "packets too late to be played",
    "adaptation": "the changing delay",
    "concealment": "concealment",
    "misalignment": "PESQ's own misalignment",
}


def _joined(texts: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(texts[:-1]), texts[-1]))) if texts else ""


def _score(said: Pcm, sound: Pcm, rate: int, scores: dict[str, float]) -> float:
    """MOS-LQO of a sound; of equal sounds once."""
    key = hashlib.sha1(sound.tobytes(), usedforsecurity=False).hexdigest()
    if key not in scores:
        scores[key] = listen(said, sound, rate).pesq.mos_lqo
    return scores[key]


@lru_cache(maxsize=16)
def _against_itself(said: bytes, rate: int) -> float:
    samples = np.frombuffer(said, dtype=np.int16)
    return listen(samples, samples, rate).pesq.mos_lqo


@lru_cache(maxsize=16)
def _through_codec(said: bytes, spec: str) -> float:
    return loopback(codec_named(spec), np.frombuffer(said, dtype=np.int16)).pesq.mos_lqo


__all__ = ["CAUSES", "Blame", "ScorerRefused", "blame", "blame_sentence"]
