"""The record of one call: what was requested, what it ran on, how it ended, and its rows. Versioned, checked JSON."""

# ruff: noqa: RUF009 -- `fact` makes a dataclass field, as `field` does
from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from earwitness.archive.codec import Mismatch, from_plain, loads, to_plain
from earwitness.archive.facts import CallParty, Clock, Rendering, SelfCheck, SpeechFacts
from earwitness.archive.layout import CALLS, DIRECTIONS, RECORD
from earwitness.archive.schema import Row, is_scores
from earwitness.errors import InputError, Outcome
from earwitness.facts import LABEL, fact
from earwitness.files import MIB, read_regular
from earwitness.lab.load.facts import LoadFacts
from earwitness.path.facts import CircuitFacts, PathFacts

RECORD_VERSION = 1
MOST_BYTES = 16 * MIB
"""Largest record, a thousand times the usual size. As Python objects it can take twenty times as much memory."""


@dataclass(frozen=True, kw_only=True)
class CallRecord:
    """Everything known about one call except its packets and audio."""

    record_version: int = fact("Version of this layout", default=RECORD_VERSION)
    call_id: str = fact("Identifier of the call; the name of its folder")
    started_at: str = fact("Start of the call, UTC, ISO 8601 with nanoseconds")
    command: tuple[str, ...] = fact("Command line that placed the call", default=())
    versions: Mapping[str, str] = fact("Versions of earwitness, tor, Python, kernel ...", default_factory=dict)
    seed: int | None = fact("Seed of all random choices in this call", default=None)
    clocks: Mapping[str, Clock] = fact("Clocks, by the names that traces use", default_factory=dict)
    network: str = fact("lab, public, or the data set that the call was imported from", longest=LABEL, default="lab")
    plan: Mapping[str, Any] = fact("What was requested: the options of `earwitness call`", default_factory=dict)
    path: str = fact("direct, tor, vpn, vpn-tor, onion ...", longest=LABEL, default="")
    path_details: PathFacts = fact(
        "What the path reports about itself: options, streams, setup", default_factory=PathFacts
    )
    circuit: CircuitFacts = fact("Circuit that carried the call", default_factory=CircuitFacts)
    caller: CallParty = fact("The calling end", default_factory=CallParty)
    callee: CallParty = fact("The answering end", default_factory=CallParty)
    codec: str = fact("Codec with options, as requested", longest=LABEL, default="")
    phone: str = fact("Phone that placed the call", longest=LABEL, default="builtin")
    speech: SpeechFacts = fact("Reference speech", default_factory=SpeechFacts)
    outcome: Outcome = fact("How the call ended")
    outcome_detail: str = fact("One line: what was attempted, on what, what happened, and what to do", default="")
    stage: str = fact("Stage that the call had reached when it failed", default="")
    evidence: Mapping[str, Any] = fact("Evidence of the failure: log lines, reply codes, counts", default_factory=dict)
    load: LoadFacts = fact("Background traffic of the lab during the call", default_factory=LoadFacts)
    instrument: SelfCheck = fact("Result of the self-check during the call", default_factory=SelfCheck)
    milestones: Mapping[str, int] = fact(
        "Moments of the call, by name (invite_sent, ringing, answered, first_media_to_callee, bye ...):"
        " ns on the clock named by `milestones_clock`",
        default_factory=dict,
    )
    milestones_clock: str = fact("Clock of `milestones`, a name in `clocks`", default="")
    listening: Mapping[str, Rendering] = fact("How the audio was rendered, by direction", default_factory=dict)
    rows: tuple[Row, ...] = fact("One row per direction, with the columns of the table of rows", default=())
    notes: tuple[str, ...] = fact("Notes for the reader", default=())

    def to_json(self) -> str:
        """The record as plain JSON values, in field order."""
        return json.dumps(to_plain(self), ensure_ascii=False, allow_nan=False, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, notes: list[str] | None = None) -> CallRecord:
        """Parse and check a record; raises `Mismatch` (a ValueError) with the place of the error.

        Keys from a later Earwitness of the same record version are left out and listed in `notes`.
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
        """Raise `Mismatch` if fields contradict one another."""
        seen = [row.direction for row in self.rows]
        if len(set(seen)) < len(seen):
            raise Mismatch(f"rows: a direction twice: {', '.join(seen)[:40]}")
        for i, row in enumerate(self.rows):
            if row.call_id != self.call_id:
                raise Mismatch(f"rows[{i}].call_id: {row.call_id!r:.40} in the record of {self.call_id!r:.40}")
            if row.direction not in DIRECTIONS:  # it becomes part of file names
                raise Mismatch(f"rows[{i}].direction: {row.direction!r:.40} is not one of {', '.join(DIRECTIONS)}")
            if not is_scores(row.scores):
                raise Mismatch(f"rows[{i}].scores: they cannot be figures of scorers by name")


_NOT_UTF8 = re.compile("[\ud800-\udfff]")
"""Surrogates that stand for undecodable bytes in a path (PEP 383); no encoder accepts them."""


def write_record(folder: Path, record: CallRecord) -> Path:
    """Write `record` into a call's folder; raises `Mismatch` for a record that could not be read back.

    In names that are not UTF-8, such as on a command line, the bytes are kept as text: `\\udcff` for the byte ff.
    """
    text = _NOT_UTF8.sub(lambda found: f"\\\\u{ord(found[0]):04x}", record.to_json())
    if len(text) > MOST_BYTES:
        raise Mismatch(f"the record has {len(text)} characters, at most {MOST_BYTES} can be read back")
    CallRecord.from_json(text)
    path = folder / RECORD
    path.write_text(text, encoding="utf-8")
    return path


def read_record(folder: Path, notes: list[str] | None = None) -> CallRecord:
    """Read the record in a call's folder; raises InputError with what is wrong."""
    path = folder / RECORD
    try:
        record = CallRecord.from_json(read_regular(path, MOST_BYTES), notes)
        if folder.parent.name == CALLS and record.call_id != folder.name:
            raise Mismatch(f"call_id: {record.call_id!r} in the folder {folder.name!r}")
    except (OSError, ValueError) as error:
        what = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InputError("reading the record", path, what, "restore the folder, or remove it") from None
    return record
