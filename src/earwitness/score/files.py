"""Scores two sound files: the work of `earwitness score`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from earwitness.arrays import Pcm
from earwitness.errors import InputError
from earwitness.score.kind import Evidence, figure
from earwitness.score.pesq import check_length, pesq_nb, pesq_wb, samples_as_published
from earwitness.score.scorers import scorer
from earwitness.score.verdict import verdict
from earwitness.speech.level import speech_level
from earwitness.speech.wav import read_wav, resample


@dataclass(frozen=True)
class FileScore:
    """The score of one file against another, and further facts about the two."""

    reference: str
    degraded: str
    mode: str
    """`narrowband`, `wideband`, or `as-published`."""
    pesq_raw: float | None
    mos_lqo: float | None
    mos_lqo_wb: float | None
    delay_ms: float | None
    delay_range_ms: float | None
    utterances: int | None
    reference_seconds: float
    degraded_seconds: float
    reference_level_dbov: float
    degraded_level_dbov: float
    reference_activity: float
    degraded_activity: float
    verdict: str
    verdict_reason: str
    scores: Mapping[str, float] = field(default_factory=dict)
    """Figures of the additional scorers, by name."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, in order."""
        return asdict(self)

    @property
    def prediction(self) -> str:
        """The line that the ITU-T reference program prints."""
        if self.mos_lqo_wb is not None:
            return f"P.862.2 Prediction (MOS-LQO):  = {self.mos_lqo_wb:.3f}"
        return f"P.862 Prediction (Raw MOS, MOS-LQO):  = {self.pesq_raw:.3f}\t{self.mos_lqo:.3f}"


def score_files(
    reference: str | Path,
    degraded: str | Path,
    *,
    as_published: bool = False,
    wideband: bool = False,
    scorers: Sequence[str] = (),
) -> FileScore:
    """Score a degraded sound file against its reference; raises `InputError` or `ScorerRefused`.

    Files are converted to mono and to 8 kHz (16 kHz with `wideband`). `as_published` instead takes every byte from the
    45th on as 8 kHz samples, whatever the header says, as the published study's program did. `scorers`: additional
    ones, by name (`earwitness.score.scorers`).
    """
    further = [scorer(name) for name in dict.fromkeys(scorers)]
    if as_published and wideband:
        raise InputError(
            "scoring", degraded, "the published scores are narrowband", "leave out {wideband}", field="wideband"
        )
    rate = 16000 if wideband else 8000
    spoken = _read(reference, "reference", rate, as_published, wideband)
    heard = _read(degraded, "degraded sound", rate, as_published, wideband)
    said, got = speech_level(spoken, rate), speech_level(heard, rate)
    narrow = None if wideband else pesq_nb(spoken, heard, rate)
    wide = pesq_wb(spoken, heard) if wideband else None
    evidence = Evidence(heard=heard, sample_rate=rate, reference=spoken)
    judged = verdict(mos_lqo=wide if narrow is None else narrow.mos_lqo)
    return FileScore(
        reference=str(reference),
        degraded=str(degraded),
        mode="wideband" if wideband else "as-published" if as_published else "narrowband",
        pesq_raw=None if narrow is None else narrow.raw,
        mos_lqo=None if narrow is None else narrow.mos_lqo,
        mos_lqo_wb=wide,
        delay_ms=None if narrow is None else narrow.delay_ms,
        delay_range_ms=None if narrow is None else narrow.delay_range_ms,
        utterances=None if narrow is None else narrow.utterances,
        reference_seconds=len(spoken) / rate,
        degraded_seconds=len(heard) / rate,
        reference_level_dbov=said.active_dbov,
        degraded_level_dbov=got.active_dbov,
        reference_activity=said.activity,
        degraded_activity=got.activity,
        verdict=judged.word,
        verdict_reason=judged.reason,
        scores={kind.name: figure(kind, evidence) for kind in further},
    )


def _read(path: str | Path, name: str, rate: int, as_published: bool, wideband: bool) -> Pcm:
    """The audio of a file at `rate`; audio too long to score is refused before any processing."""
    samples, found = (samples_as_published(Path(path)), rate) if as_published else read_wav(path)
    if wideband and found < 16000:
        raise InputError(
            "scoring as wideband", path, f"it has a sample rate of {found} Hz", "give sound at 16 kHz or more"
        )
    check_length(name, samples, found)
    return resample(samples, found, rate)
