"""The record of one call: what was asked, what it ran on, how it ended, and its rows. JSON, versioned, checked."""

# ruff: noqa: RUF009 -- `_says` makes a dataclass field, as `field` does
from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from earwitness.archive.codec import Mismatch, from_plain, loads, to_plain
from earwitness.archive.layout import CALLS, DIRECTIONS, RECORD
from earwitness.archive.schema import LABEL, MS_RANGE, Row, is_scores
from earwitness.errors import InputError, Outcome
from earwitness.files import MIB, read_regular

RECORD_VERSION = 1
MOST_BYTES = 16 * MIB
"""Of a record, a thousand times what one usually has. As Python's objects it can take twenty times its size."""


def _says(
    definition: str, bounds: tuple[float, float] | None = None, longest: int | None = None, **options: Any
) -> Any:
    return field(metadata={"definition": definition, "range": bounds, "longest": longest}, **options)


@dataclass(frozen=True, kw_only=True)
class Clock:
    """A clock that times in this record and its traces were read from."""

    kind: str = _says("What it is: CLOCK_REALTIME kernel timestamps, CLOCK_MONOTONIC ...")
    host: str = _says("Machine it runs on", default="")
    error_ms: float | None = _says(
        "Bound on its error against the call's other clocks; null: not known", MS_RANGE, default=None
    )
    offset_ns: int | None = _says(
        "On another machine: how far it was found ahead of the caller's clock in mid-call; times here are corrected"
        " for it, captures are not",
        default=None,
    )
    skew_ppm: float | None = _says("On another machine: parts per million that it runs fast", (-1e6, 1e6), default=None)
    symmetric_error_ms: float | None = _says(
        "On another machine: the bound on the error if the least delays of both directions are equal, in ms",
        MS_RANGE,
        default=None,
    )


@dataclass(frozen=True, kw_only=True)
class Relay:
    """One relay of the circuit."""

    nickname: str = _says("Name the relay gives itself", longest=LABEL)
    fingerprint: str = _says("Identity, 40 hexadecimal digits", default="")
    address: str = _says("IP address", default="")
    place: str = _says("City", longest=LABEL, default="")
    country: str = _says("Country", longest=LABEL, default="")


@dataclass(frozen=True, kw_only=True)
class Circuit:
    """The circuit that carried the call, first hop first. Without Tor it has no relays."""

    id: str = _says("Circuit id at the caller's tor (control-spec CIRC events)", default="")
    relays: tuple[Relay, ...] = _says("Relays, guard first", default=())


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One end of the call."""

    place: str = _says("City", longest=LABEL, default="")
    host: str = _says("Host in the lab, or machine", default="")
    address: str = _says("IP address its phone uses on the path", default="")


@dataclass(frozen=True, kw_only=True)
class Speech:
    """The reference speech."""

    name: str = _says("Name of the shipped reference, or of the file given", default="")
    attribution: str = _says("Who spoke, and the licence", default="")
    seconds: float | None = _says("Length", (0.0, 1e9), default=None)
    sample_rate: int | None = _says("Hz", (1, 1e9), default=None)


@dataclass(frozen=True, kw_only=True)
class Listening:
    """How the audio of one direction was rendered, so that sound, packets and reference can be laid side by side."""

    origin_ns: int = _says("Time of sample 0 of the heard audio, on the arrival clock of the trace")
    reference_at_ms: float | None = _says(
        "Where in the heard audio the first sample of the reference plays", MS_RANGE, default=None
    )
    buffer: str = _says("Jitter buffer", default="")
    concealment: str = _says("What filled a missing frame", default="")
    playout_delay_mean_ms: float | None = _says("Mean time a frame waited in the buffer", MS_RANGE, default=None)
    shares: Mapping[str, float] = _says("Share of playing time by fate (played, concealed ...)", default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class CallRecord:
    """Everything known of one call but its packets and its sound."""

    record_version: int = _says("Version of this layout", default=RECORD_VERSION)
    call_id: str = _says("Identity of the call; the name of its folder")
    started_at: str = _says("Start of the call, UTC, ISO 8601 with nanoseconds")
    command: tuple[str, ...] = _says("Command line that placed the call", default=())
    versions: Mapping[str, str] = _says("Versions of earwitness, tor, Python, kernel ...", default_factory=dict)
    seed: int | None = _says("Seed of everything random in this call", default=None)
    clocks: Mapping[str, Clock] = _says("Clocks by the name that traces use", default_factory=dict)
    network: str = _says("lab, public, or the data set the call was imported from", longest=LABEL, default="lab")
    plan: Mapping[str, Any] = _says("What was asked: the options of `earwitness call`", default_factory=dict)
    path: str = _says("direct, tor, vpn, vpn-tor, onion ...", longest=LABEL, default="")
    path_details: Mapping[str, Any] = _says(
        "What the path says of itself: options, streams, set-up", default_factory=dict
    )
    circuit: Circuit = _says("The circuit", default_factory=Circuit)
    caller: Endpoint = _says("Who called", default_factory=Endpoint)
    callee: Endpoint = _says("Who was called", default_factory=Endpoint)
    codec: str = _says("Codec with options, as asked", longest=LABEL, default="")
    phone: str = _says("Which phone", longest=LABEL, default="builtin")
    speech: Speech = _says("The reference", default_factory=Speech)
    outcome: Outcome = _says("How the call ended")
    outcome_detail: str = _says("One line: what was tried, on what, what happened, what to do", default="")
    stage: str = _says("Stage the call had reached when it failed", default="")
    evidence: Mapping[str, Any] = _says("What the failure left: log lines, reply codes, counts", default_factory=dict)
    load: Mapping[str, Any] = _says(
        "Background traffic of the lab while the call had its turn: load (as `--load`), seed, clients, relay_mbit"
        " (bound on each relay's rate, null: none), seconds, bytes and mbit_s that its clients received, pages,"
        " page_mean_s, downloads, failed, last_failure; where there was none only load",
        default_factory=dict,
    )
    instrument: Mapping[str, Any] = _says(
        "What the instrument says of itself during the call, ms: emulator_late_p99_ms and _max_ms; cpu_wait_mean_ms"
        " and cpu_wait_worst_ms (what a packet waited for processors on its way, over the call and over its worst"
        " twentieth), and the processes that this is of; send_deviation_max_ms by end. null: not known",
        default_factory=dict,
    )
    milestones: Mapping[str, int] = _says(
        "Instants of the call by name (invite_sent, ringing, answered, first_media_to_callee, bye ...):"
        " ns on the clock named by `milestones_clock`",
        default_factory=dict,
    )
    milestones_clock: str = _says("Name in `clocks`", default="")
    listening: Mapping[str, Listening] = _says("By direction: how the audio was rendered", default_factory=dict)
    rows: tuple[Row, ...] = _says("One a direction: the columns of the table below", default=())
    notes: tuple[str, ...] = _says("What a reader should know", default=())

    def to_json(self) -> str:
        """The record as it is written, in field order."""
        return json.dumps(to_plain(self), ensure_ascii=False, allow_nan=False, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, notes: list[str] | None = None) -> CallRecord:
        """Read and check a record; raises `Mismatch` (a ValueError) with the place that is wrong.

        Keys of a later Earwitness of the same record version are left out and told in `notes`.
        """
        plain = loads(text)
        version = plain.get("record_version") if isinstance(plain, Mapping) else None
        if not isinstance(version, int) or isinstance(version, bool):
            raise Mismatch("record_version: missing")
        if version > RECORD_VERSION:
            raise Mismatch(
                f"record_version {version} was written by a newer Earwitness; this one reads {RECORD_VERSION}"
            )
        if version < RECORD_VERSION:
            raise Mismatch(f"record_version {version} is older than any that was ever released")
        record = from_plain(cls, plain, notes)
        record.check()
        return record

    def check(self) -> None:
        """Raise `Mismatch` where fields contradict one another."""
        seen = [row.direction for row in self.rows]
        if len(set(seen)) < len(seen):
            raise Mismatch(f"rows: a direction twice: {', '.join(seen)[:40]}")
        for i, row in enumerate(self.rows):
            if row.call_id != self.call_id:
                raise Mismatch(f"rows[{i}].call_id: {row.call_id!r:.40} in the record of {self.call_id!r:.40}")
            if row.direction not in DIRECTIONS:  # it is part of names of files
                raise Mismatch(f"rows[{i}].direction: {row.direction!r:.40} is not one of {', '.join(DIRECTIONS)}")
            if not is_scores(row.scores):
                raise Mismatch(f"rows[{i}].scores: they cannot be figures of scorers by name")


_NOT_UTF8 = re.compile("[\ud800-\udfff]")
"""What a path that is not UTF-8 has for its bytes (PEP 383); no encoder takes them."""


def write_record(folder: Path, record: CallRecord) -> Path:
    """Write `record` into a call's folder; raises `Mismatch` for a record that could not be read back.

    Of names that are not UTF-8, as on a command line, the bytes are kept as text: `\\udcff` for the byte ff.
    """
    text = _NOT_UTF8.sub(lambda found: f"\\\\u{ord(found[0]):04x}", record.to_json())
    if len(text) > MOST_BYTES:
        raise Mismatch(f"the record has {len(text)} characters, at most {MOST_BYTES} can be read back")
    CallRecord.from_json(text)
    path = folder / RECORD
    path.write_text(text, encoding="utf-8")
    return path


def read_record(folder: Path, notes: list[str] | None = None) -> CallRecord:
    """Read the record of a call's folder; an InputError says what is wrong with it."""
    path = folder / RECORD
    try:
        record = CallRecord.from_json(read_regular(path, MOST_BYTES), notes)
        if folder.parent.name == CALLS and record.call_id != folder.name:
            raise Mismatch(f"call_id: {record.call_id!r} in the folder {folder.name!r}")
    except (OSError, ValueError) as error:
        what = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InputError("reading the record", path, what, "restore the folder, or remove it") from None
    return record
