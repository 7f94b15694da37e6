"""Scorers by name: those whose figures every call has, and those computed on request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from earwitness.errors import EarwitnessError
from earwitness.plugins import Registry
from earwitness.score.emodel import e_model
from earwitness.score.kind import Evidence, ScorerKind, ScorerRefused, both_sounds, figure
from earwitness.score.listening import listening_quality
from earwitness.score.sound_models import SOUND_MODELS


def _mos_lqo(evidence: Evidence) -> float:
    reference, heard = both_sounds(evidence, "PESQ")
    return listening_quality(reference, heard, evidence.sample_rate).pesq.mos_lqo


def _mos_lqo_wb(evidence: Evidence) -> float:
    reference, heard = both_sounds(evidence, "wideband PESQ")
    wide = listening_quality(reference, heard, evidence.sample_rate).mos_lqo_wb
    if wide is None:
        raise ScorerRefused("the sound has less than 16 kHz", "give wideband sound", "wideband PESQ")
    return wide


def _mos_cqe(evidence: Evidence) -> float:
    if not evidence.codec or evidence.mouth_to_ear_ms is None:
        raise ScorerRefused("sound alone tells nothing of codec, loss and delay", "score a call", "the E-model")
    lost = (evidence.loss_ratio or 0.0) + (evidence.late_ratio or 0.0) + (evidence.discarded_ratio or 0.0)
    rated = e_model(
        evidence.codec,
        loss_ratio=min(1.0, lost),
        mouth_to_ear_ms=max(0.0, evidence.mouth_to_ear_ms),
        burst_ratio=max(1.0, evidence.burst_ratio or 1.0),
    )
    return rated.mos_cqe


SCORERS = Registry(
    "scorer",
    "earwitness.scorers",
    ScorerKind,
    (
        ScorerKind(
            name="pesq",
            summary="listening quality, narrowband: PESQ as MOS-LQO (ITU-T P.862, P.862.1)",
            unit="MOS 1..5",
            heading="MOS LQO",
            score=_mos_lqo,
            column="mos_lqo",
        ),
        ScorerKind(
            name="pesq-wb",
            summary="listening quality, wideband: PESQ as MOS-LQO (ITU-T P.862.2)",
            unit="MOS 1..5",
            heading="MOS LQO wb",
            score=_mos_lqo_wb,
            column="mos_lqo_wb",
        ),
        ScorerKind(
            name="e-model",
            summary="conversational quality from codec, loss and delay: the E-model (ITU-T G.107)",
            unit="MOS 1..4.5",
            heading="MOS CQE",
            score=_mos_cqe,
            column="mos_cqe",
        ),
        *SOUND_MODELS,
    ),
)
"""All scorers; other packages add theirs through entry points of this group."""


def scorer(name: str) -> ScorerKind:
    """The scorer with this name. Raises `InputError` with the valid ones."""
    return SCORERS.get(name.strip().lower(), "scoring with", name)


def extra_scores(names: Sequence[str], evidence: Evidence) -> tuple[Mapping[str, float], tuple[str, ...]]:
    """The figures of these scorers by name, and a line for each one that has none, with the reason.

    Scorers with a column in every row are skipped. Raises `InputError` for an unknown name.
    """
    found: dict[str, float] = {}
    refused: list[str] = []
    for kind in (scorer(name) for name in dict.fromkeys(names)):
        if kind.column:
            continue
        try:
            found[kind.name] = figure(kind, evidence)
        except EarwitnessError as error:
            refused.append(str(error))
    return found, tuple(refused)
