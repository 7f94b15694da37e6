"""Hears a capture through several jitter buffers and scores it: the work of `earwitness hear`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from earwitness.ear.hear import Heard
from earwitness.ear.listen import choose_stream, listen_to_capture
from earwitness.errors import EarwitnessError
from earwitness.score.kind import Evidence, ScorerRefused
from earwitness.score.listening import listening_quality as score_listening
from earwitness.score.missing import missing_speech
from earwitness.score.pesq import PesqScore, samples_as_published
from earwitness.score.played import estimate_played
from earwitness.score.scorers import extra_scores, scorer
from earwitness.speech.reference import Speech, speech
from earwitness.speech.wav import resample, write_wav
from earwitness.trace.directions import opposite, seen
from earwitness.trace.rtcp import missed_by_capture
from earwitness.trace.selection import Selection, read_selected

MISSED_TOO_MUCH = 0.05
"""A capture that lacks a larger share of what its phone received does not represent what the phone heard."""


@dataclass(frozen=True, eq=False)
class Scored:
    """What was heard through one buffer, and its score; `score` is None without a reference or if the scorer
    refused."""

    heard: Heard
    flow: str
    score: PesqScore | None
    mos_lqo_wb: float | None
    refused: str
    score_as_published: PesqScore | None = None
    """Score against the reference as the published study's program read it, if it read other samples of the file."""
    why: str = ""
    """Which stream of the capture was heard, and why that one."""
    doubts: tuple[str, ...] = ()
    """What about the stream was guessed."""
    sound_notes: tuple[str, ...] = ()
    """What was done to the reference before it was compared: a channel taken, another rate."""
    missing: str = ""
    """What the sound lacks of the reference's speech, because it began later or ended earlier."""
    direction: str = ""
    """Seen from where the capture was made: `received`, `sent` or `unknown`."""
    direction_from: str = ""
    """What tells the direction: the `capture`, or a guess by `jitter` or `SIP`."""
    estimate: Mapping[str, Any] = field(default_factory=dict)
    """Quality estimated from the packets alone (`earwitness.score.estimate`), by name."""
    capture_missed: float | None = None
    """Share of the packets that the phone reports by RTCP as received but the capture lacks; None: no report."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """Figures of the additional scorers, by name."""

    @property
    def doubt(self) -> str:
        """Why this may differ from what the phone heard, in one line; empty if there is no reason for doubt."""
        doubts = [*self.doubts, *self.heard.notes, *filter(None, (self.missing,))]
        if self.capture_missed is not None and self.capture_missed >= MISSED_TOO_MUCH:
            doubts.append(
                f"the capture lacks {self.capture_missed:.0%} of the packets that the phone reported (RTCP) as"
                " received: it heard more than this"
            )
        return "; ".join(doubts)

    def record(self) -> dict[str, Any]:
        """One JSON record; names and units as in the data dictionary."""
        heard, score = self.heard, self.score
        return {
            "buffer": heard.buffer,
            "codec": heard.codec,
            "concealment": heard.concealment,
            "flow": self.flow,
            "ssrc": f"0x{heard.trace.ssrc:08x}",
            "direction": self.direction,
            "direction_from": self.direction_from,
            "why": self.why,
            "mos_lqo": None if score is None else score.mos_lqo,
            "pesq_raw": None if score is None else score.raw,
            "mos_lqo_wb": self.mos_lqo_wb,
            "mos_lqo_as_published": self.score_as_published and self.score_as_published.mos_lqo,
            "pesq_raw_as_published": self.score_as_published and self.score_as_published.raw,
            "scores": dict(self.scores),
            "score_refused": self.refused,
            "capture_missed_ratio": self.capture_missed,
            "doubt": self.doubt,
            "sound_note": "; ".join(self.sound_notes),
            **heard.figures(),
            "sound_from": "reference" if heard.remade else "packets",
            "from_red": heard.here.from_red,
            "from_fec": heard.here.from_fec,
            "estimate": self.estimate,
            "seconds": len(heard.audio) / heard.sample_rate,
            "sample_rate": heard.sample_rate,
            "origin_ns": heard.origin_ns,
        }

    def save(self, audio: Path | None, ledger: Path | None, *, several: bool) -> dict[str, Any]:
        """Write the audio (WAV) and the ledger (Parquet) if requested; returns the record with their paths.

        With `several` buffers, the buffer's name is added to the file names. Raises EarwitnessError if writing fails.
        """
        audio, ledger = (self._named(path) if path and several else path for path in (audio, ledger))
        try:
            for path in (audio, ledger):
                if path is not None:
                    path.parent.mkdir(parents=True, exist_ok=True)
            if audio is not None:
                write_wav(audio, self.heard.audio, self.heard.sample_rate)
            if ledger is not None:
                self.heard.ledger.to_parquet(ledger, index=False)
        except OSError as error:
            raise EarwitnessError(
                "writing what was heard to",
                audio or ledger,
                error.strerror or error,
                "choose another file for it",
            ) from error
        return {**self.record(), "audio": audio and str(audio), "ledger": ledger and str(ledger)}

    def _named(self, path: Path) -> Path:
        name = "".join(char if char.isalnum() or char in "-_." else "-" for char in self.heard.buffer)
        return path.with_name(f"{path.stem}-{name}{path.suffix}")


def score_of(heard: Heard, reference: Speech, flow: str = "") -> Scored:
    """Score what was heard against what was said, at the audio's rate (narrowband; from 16 kHz also wideband)."""
    # The audio has the highest sample rate of the stream's codecs.
    said = resample(reference.samples, reference.sample_rate, heard.sample_rate)
    try:
        score = score_listening(said, heard.audio, heard.sample_rate)
    except ScorerRefused as error:
        return Scored(heard, flow, None, None, error.reason)
    notes = tuple(filter(None, (reference.note, score.resampled and f"resampled: {score.resampled}")))
    missing = missing_speech(said, heard.audio, heard.sample_rate, score.pesq.delay_ms)
    return Scored(heard, flow, score.pesq, score.mos_lqo_wb, "", sound_notes=notes, missing=missing)


def hear_capture(
    capture: Path,
    buffers: Sequence[str],
    *,
    reference: str | Path | None = None,
    codec: str | None = None,
    concealment: str | None = None,
    to: str | None = None,
    selected: Selection | None = None,
    as_published: bool = False,
    scorers: Sequence[str] = (),
) -> list[Scored]:
    """Hear a capture through each of `buffers`, and score it if a `reference` is given.

    `reference`: a WAV file, or the name of shipped speech; the sending phone played it in a loop, and cut packets are
    re-encoded from it. `selected`: which streams are meant, and their payload types.
    `as_published`: score against the samples that the published study's program read, from byte 44
    of the file; if they differ (a longer header is scored as audio), the record has both scores. `scorers`: additional
    ones, by name (`earwitness.score.scorers`). Other arguments are as for `earwitness.ear.listen.listen_to_capture`.
    Raises InputError.
    """
    for name in scorers:
        scorer(name)
    selected = selected or Selection()
    read = read_selected(capture, selected)
    chosen = choose_stream(read, to=to, codec=codec, stream=selected.stream)
    said = None if reference is None else speech(reference, chosen.codec.sample_rate)
    heard = listen_to_capture(
        read,
        buffers,
        reference=None if said is None else said.samples,
        to=to,
        codec=codec,
        stream=selected.stream,
        concealment=concealment,
    )
    way = seen(read, chosen.heard, opposite(read, chosen.heard))
    about = partial(
        replace,
        flow=str(chosen.heard.flow),
        why=chosen.why,
        doubts=chosen.heard.doubts,
        direction=way.direction,
        direction_from=way.basis,
        capture_missed=missed_by_capture(read, chosen.heard),
    )
    estimates = [
        {
            name: value
            for name, value in estimate_played(one, chosen.codec).record().items()
            if name not in one.figures()
        }
        for one in heard
    ]
    if said is None:
        bare = [
            about(Scored(one, "", None, None, ""), estimate=each) for one, each in zip(heard, estimates, strict=True)
        ]
        return [_with_scorers(one, scorers, None) for one in bare]
    study_read = _as_published(reference, said)
    if as_published and study_read is not None:
        said = study_read
    scored = [
        _with_scorers(about(score_of(one, said), estimate=each), scorers, said)
        for one, each in zip(heard, estimates, strict=True)
    ]
    if study_read is None:
        return scored
    return [
        replace(one, score_as_published=one.score if as_published else score_of(one.heard, study_read).score)
        for one in scored
    ]


def _with_scorers(scored: Scored, scorers: Sequence[str], said: Speech | None) -> Scored:
    """Add the figures of the additional scorers, or the reason why one has none."""
    heard = scored.heard
    evidence = Evidence(
        heard=heard.audio,
        sample_rate=heard.sample_rate,
        reference=None if said is None else resample(said.samples, said.sample_rate, heard.sample_rate),
        codec=heard.codec,
        trace=heard.trace,
        loss_ratio=heard.shares["lost_ratio"],
        late_ratio=heard.shares["late_ratio"],
        discarded_ratio=heard.shares["discarded_ratio"],
        burst_ratio=scored.estimate["burst_ratio"],
        concealed_ratio=heard.shares["concealed_ratio"],
        mouth_to_ear_ms=heard.mouth_to_ear_mean_ms if heard.mouth_to_ear_basis != "fastest packet" else None,
    )
    scores, refused = extra_scores(scorers, evidence)
    return replace(scored, scores=scores, refused="; ".join(filter(None, (scored.refused, *refused))))


def _as_published(reference: str | Path | None, said: Speech) -> Speech | None:
    """The reference as the study's program read it (from byte 44 on), None where that is what the file says."""
    if said.sample_rate != 8000 or not Path(str(reference)).is_file():
        return None
    samples = samples_as_published(Path(str(reference)))
    return None if np.array_equal(samples, said.samples) else replace(said, samples=samples)
