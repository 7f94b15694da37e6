"""A verdict for people: one word and one sentence, from numbers alone.

The word is the worse of two grades. Listening, by MOS-LQO: good from 3.6 (what G.109 calls satisfying for many),
acceptable from 3.0 (the published study's threshold), poor from 2.0 (the ACR scale's own "poor"), else bad.
Conversation, by mouth-to-ear delay: good to 150 ms, acceptable to 400 ms (both G.114), poor to 1 s, else bad.
"""

from __future__ import annotations

from dataclasses import dataclass

WORDS = ("good", "acceptable", "poor", "bad")
LISTENING_AT_LEAST = (3.6, 3.0, 2.0)
"""MOS-LQO required for the first three words."""
DELAY_AT_MOST_MS = (150.0, 400.0, 1000.0)
"""Mouth-to-ear delay permitted for the first three words."""

UNIMPAIRED_MOS = 4.5
"""MOS-LQO of a perfect copy, rounded (P.862.1)."""
_NOTICEABLE_MOS = 0.15
_NOTICEABLE_RATIO = 0.003


@dataclass(frozen=True)
class Verdict:
    """`word` is good, acceptable, poor, bad, or failed; `reason` is one sentence that names the main cause."""

    word: str
    reason: str


def verdict(
    *,
    mos_lqo: float | None,
    mouth_to_ear_ms: float | None = None,
    mos_cqe: float | None = None,
    loss_ratio: float | None = None,
    late_ratio: float | None = None,
    concealed_ratio: float | None = None,
    jitter_p95_ms: float | None = None,
    codec_ceiling_mos: float | None = None,
) -> Verdict:
    """Judge one direction of a call. None means: not measured.

    `codec_ceiling_mos` is the MOS-LQO of the codec alone (`score.listening.loopback`); ratios are 0..1. Without
    `mos_lqo` the E-model's `mos_cqe` is used instead, and without both the verdict is "failed".
    """
    heard = mos_lqo if mos_lqo is not None else mos_cqe
    if heard is None:
        return Verdict("failed", "Nothing was heard that could be scored.")
    listening = _grade_down(heard, LISTENING_AT_LEAST)
    delay = 0 if mouth_to_ear_ms is None else _grade_up(mouth_to_ear_ms, DELAY_AT_MOST_MS)
    word = WORDS[max(listening, delay)]
    score = f"MOS-LQO {heard:.2f}" if mos_lqo is not None else f"estimated MOS {heard:.2f}"
    if listening == 0 and delay == 0:
        return Verdict(word, f"The speech is clear ({score}){_delay_clause(mouth_to_ear_ms)}.")
    if listening == 0:
        return Verdict(word, f"The speech is clear ({score}), but {_too_late(mouth_to_ear_ms)}.")
    cause = _sound_cause(heard, codec_ceiling_mos, loss_ratio, late_ratio, concealed_ratio, jitter_p95_ms)
    quality = ("", "not quite clear", "choppy or distorted", "hardly intelligible")[listening]
    sentence = f"The speech is {quality} ({score}): {cause}"
    if delay > 0:
        sentence += f"; and {_too_late(mouth_to_ear_ms)}"
    return Verdict(word, sentence + ".")


def _grade_down(value: float, at_least: tuple[float, ...]) -> int:
    return next((grade for grade, bound in enumerate(at_least) if value >= bound), len(at_least))


def _grade_up(value: float, at_most: tuple[float, ...]) -> int:
    return next((grade for grade, bound in enumerate(at_most) if value <= bound), len(at_most))


def _delay_clause(mouth_to_ear_ms: float | None) -> str:
    return "" if mouth_to_ear_ms is None else f" and is heard {mouth_to_ear_ms:.0f} ms after it was said"


def _too_late(mouth_to_ear_ms: float | None) -> str:
    assert mouth_to_ear_ms is not None
    effect = "where people talk over each other" if mouth_to_ear_ms > DELAY_AT_MOST_MS[1] else "which is felt"
    bound = DELAY_AT_MOST_MS[1] if mouth_to_ear_ms > DELAY_AT_MOST_MS[1] else DELAY_AT_MOST_MS[0]
    return f"it is heard {mouth_to_ear_ms:.0f} ms after it was said, above {bound:.0f} ms, {effect}"


def _sound_cause(
    heard: float,
    ceiling: float | None,
    loss: float | None,
    late: float | None,
    concealed: float | None,
    jitter_p95_ms: float | None,
) -> str:
    """The main cause of the loss of score: the codec, packet loss, lateness, concealment, or uneven delay."""
    by_codec = 0.0 if ceiling is None else UNIMPAIRED_MOS - ceiling
    by_network = (UNIMPAIRED_MOS if ceiling is None else ceiling) - heard
    if ceiling is not None and (by_network < _NOTICEABLE_MOS or by_codec > by_network):
        also = "" if by_network < _NOTICEABLE_MOS else f", and the way took another {by_network:.2f}"
        return f"the codec alone reaches only {ceiling:.2f}{also}"
    causes = [
        (late or 0.0, f"{100 * (late or 0.0):.1f} % of the packets came too late to be played"),
        (loss or 0.0, f"{100 * (loss or 0.0):.1f} % of the packets were lost on the way"),
    ]
    ratio, cause = max(causes)
    if ratio >= _NOTICEABLE_RATIO:
        return cause
    if concealed is not None and concealed >= _NOTICEABLE_RATIO:
        share = f"{100 * concealed:.1f} %"
        return f"{share} of the speech was made up by concealment, for packets that were not there in time"
    if jitter_p95_ms is not None and jitter_p95_ms >= 20.0:
        return f"packets came unevenly (jitter {jitter_p95_ms:.0f} ms), so that the delay of the speech kept changing"
    if all(value is None for value in (loss, late, concealed, jitter_p95_ms)):
        return "it differs audibly from what was said"
    return "hardly a packet was lost or late, so look at the phones or at the encoder"
