"""Scores two sound files: the work of `earwitness score`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from earwitness.errors import InputError
from earwitness.score.kind import Evidence, figure
from earwitness.score.listening import NARROW_RATE, WIDE_RATE, resampling, scored_rate
from earwitness.score.missing import missing_speech
from earwitness.score.pesq import check_length, pesq_nb, pesq_wb, samples_as_published
from earwitness.score.scorers import scorer
from earwitness.score.verdict import verdict
from earwitness.speech.level import speech_level
from earwitness.speech.wav import SoundFile, read_sound, resample
from earwitness.trace.container import is_capture


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
    sample_rate: int
    """Rate at which PESQ compared them, Hz."""
    resampled: str
    """What was converted to that rate: `48000 -> 16000`; empty: nothing."""
    reference_sample_rate: int
    degraded_sample_rate: int
    reference_channel: str
    """`left`, `right`, `channel 3` or `mix`; empty: the file has only one."""
    degraded_channel: str
    reference_seconds: float
    degraded_seconds: float
    reference_level_dbov: float
    degraded_level_dbov: float
    reference_activity: float
    degraded_activity: float
    verdict: str
    verdict_reason: str
    notes: tuple[str, ...] = ()
    """What was chosen or assumed of the files, in words."""
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
    channel: str | int | None = None,
    reference_channel: str | int | None = None,
    scorers: Sequence[str] = (),
) -> FileScore:
    """Score a degraded sound file against its reference; raises `InputError` or `ScorerRefused`.

    They are compared at their own rate if both have 8 or both 16 kHz, else both are converted
    (`earwitness.score.listening.scored_rate`; 16 kHz with `wideband`). `channel` chooses one of the degraded file's
    channels, `reference_channel` one of the reference's, as `earwitness.speech.wav.read_sound` does. `as_published`
    instead takes every byte from the 45th on as 8 kHz samples, whatever the header says, as the published study's
    program did. `scorers`: additional ones, by name (`earwitness.score.scorers`).
    """
    further = [scorer(name) for name in dict.fromkeys(scorers)]
    if as_published:
        _refuse_with_as_published(degraded, wideband, channel, reference_channel)
    said = _read(reference, reference_channel, "reference_channel", as_published, wideband)
    got = _read(degraded, channel, "channel", as_published, wideband)
    for name, sound in (("reference", said), ("degraded sound", got)):
        check_length(name, sound.samples, sound.sample_rate)  # before it is resampled, which takes more memory
    rate = WIDE_RATE if wideband else scored_rate(said.sample_rate, got.sample_rate)
    spoken, heard = (resample(sound.samples, sound.sample_rate, rate) for sound in (said, got))
    narrow = None if wideband else pesq_nb(spoken, heard, rate)
    wide = pesq_wb(spoken, heard) if wideband else None
    said_level, got_level = speech_level(spoken, rate), speech_level(heard, rate)
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
        sample_rate=rate,
        resampled=resampling(said.sample_rate, got.sample_rate, rate),
        reference_sample_rate=said.sample_rate,
        degraded_sample_rate=got.sample_rate,
        reference_channel=said.channel,
        degraded_channel=got.channel,
        reference_seconds=len(spoken) / rate,
        degraded_seconds=len(heard) / rate,
        reference_level_dbov=said_level.active_dbov,
        degraded_level_dbov=got_level.active_dbov,
        reference_activity=said_level.activity,
        degraded_activity=got_level.activity,
        verdict=judged.word,
        verdict_reason=judged.reason,
        notes=(
            *(f"{name}: {sound.note}" for name, sound in (("reference", said), ("degraded", got)) if sound.note),
            *filter(None, (missing_speech(spoken, heard, rate, None if narrow is None else narrow.delay_ms),)),
        ),
        scores={kind.name: figure(kind, evidence) for kind in further},
    )


def _refuse_with_as_published(
    degraded: str | Path, wideband: bool, channel: str | int | None, reference_channel: str | int | None
) -> None:
    """The published study's program knew neither wideband nor channels."""
    for field_name, given, why in (
        ("wideband", wideband, "the published scores are narrowband"),
        ("channel", channel is not None, "the published study's program read no channels"),
        ("reference_channel", reference_channel is not None, "the published study's program read no channels"),
    ):
        if given:
            raise InputError("scoring", degraded, why, f"leave out {{{field_name}}}", field=field_name)


def _read(
    path: str | Path, channel: str | int | None, field_name: str, as_published: bool, wideband: bool
) -> SoundFile:
    """The audio of a file, at its own rate."""
    if as_published:
        return SoundFile(samples_as_published(Path(path)), NARROW_RATE, 1, "", "")
    if is_capture(path):
        remedy = "use `earwitness hear CAPTURE`, with the sound sent as its reference"
        raise InputError("scoring", path, "it is a capture, not a sound file", remedy)
    found = read_sound(path, channel, field=field_name)
    if wideband and found.sample_rate < WIDE_RATE:
        happened = f"it has a sample rate of {found.sample_rate} Hz"
        raise InputError("scoring as wideband", path, happened, "give sound at 16 kHz or more")
    return found
