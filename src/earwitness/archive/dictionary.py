"""The data dictionary, made from the schema: `python -m earwitness.archive.dictionary > docs/data-dictionary.md`."""

# ruff: noqa: E501 -- a row of a Markdown table is one line

from __future__ import annotations

import dataclasses
import sys
import typing
from typing import Any

from earwitness.archive.facts import CallParty, Clock, Rendering, SelfCheck, SpeechFacts
from earwitness.archive.record import RECORD_VERSION, CallRecord
from earwitness.archive.schema import SCHEMA_VERSION, Row
from earwitness.errors import CallFailure, EarwitnessError, InputError, Outcome
from earwitness.lab.load.facts import LoadFacts
from earwitness.path.facts import (
    CircuitFacts,
    FlowCounts,
    ForwarderCounts,
    Hop,
    PathFacts,
    StreamFacts,
    ThroughputFacts,
)
from earwitness.path.probe import RoundTrips

_NAMES = {str: "text", int: "integer", float: "number", bool: "true/false", Any: "any"}

_INTRODUCTION = f"""# Data dictionary

Made by `make docs` from the code that writes the data; do not edit. Layout version {SCHEMA_VERSION}, record version {RECORD_VERSION}.

A data set is a directory:

| file | what it is |
| --- | --- |
| `dataset.json` | `schema_version`, `created_at`, `earwitness` (the version that made it) |
| `calls.parquet`, `calls.csv` | the index: the rows below, one a call and direction, in order of start. Made from the records; `earwitness report` and every other reader see new calls even before the index does |
| `calls/<call_id>/record.json` | the record: what was asked, what it ran on, how it ended, its rows |
| `calls/<call_id>/caller.pcap`, `callee.pcap` | captures at both ends, nanosecond pcap, SIP, RTP and RTCP |
| `calls/<call_id>/{{to_callee,to_caller}}.trace.parquet` | every RTP packet of the direction |
| `calls/<call_id>/{{to_callee,to_caller}}.wav` | what the listener of the direction heard, 16-bit mono |
| `calls/<call_id>/reference.wav` | what was said |
| `calls/<call_id>/{{to_callee,to_caller}}.ledger.parquet` | what became of every frame, and what filled every gap in the playing |
| `calls/<call_id>/truth.parquet` | the emulator's own log of the call's packets (lab only) |
| `calls/<call_id>/{{caller,callee}}-linphone.wav` | what a linphone recorded itself (`--phone linphone` only) |
| `calls/<call_id>/{{caller,callee}}.ovpn` | the tunnel's configuration, without its keys (`vpn`, `vpn-tor`) |
| `report.html` | the report, where one was written |
| `study/` | of a study: its file, its journal, what was damaged (docs/studies.md) |
| `whatif/`, `blame/` | results of `earwitness whatif` and `blame`, where they were asked for (docs/whatif.md) |
| `.staging/`, `.lock` | calls being written, and the lock of the index; nothing for readers |

A call is there whole or not at all. In `to_callee` the caller speaks and the callee listens; in `to_caller` the other way round.
A value that was not measured is null in JSON and Parquet and empty in CSV; the outcome says why. Numbers are never rounded on writing.
In CSV, which people open in spreadsheets, a text that would begin a formula there (`=`, `+`, `-`, `@`, tab; also after `;`, `|`, tab or line feed) has an apostrophe before that character, and control characters are shown as `\\x1b`; numbers, and texts that are numbers, are as they are. JSON and Parquet hold every text as it was.
Units are in the names: `_ms` milliseconds, `_ns` integer nanoseconds, `_ratio` 0..1.

A call is read where its record can be one: regular file of at most 16 MiB, JSON as RFC 8259 has it with each key once, texts
that are Unicode, integers of 64 bits, figures within what their unit can be (ratios 0 to 1, scores on their scale, counts from
0, times within 10^12 ms), labels of at most 200 characters. Every other call is left out of whatever is made of the data set,
which goes on with the rest and says which and why: on standard error, in the page, and with `--json` in records of their own
(`left_out`: the call, `why`; `doubtful` where only a part is missing). An error that was not foreseen is told with its type and
its place in the program. The index is believed where records could have given it, else the records are read.
"""

_TABLES = """## Traces: `*.trace.parquet`

One row per RTP packet sent or received, in order of arrival, lost packets last in order of sequence.

| column | type | unit | definition | source |
| --- | --- | --- | --- | --- |
| `sequence` | integer | | RTP sequence number, extended over wraps | RFC 3550 A.1 |
| `timestamp` | integer | ticks of `clock_rate` | RTP timestamp, extended over wraps | RFC 3550 5.1 |
| `payload_type`, `marker` | integer, true/false | | as in the RTP header | RFC 3550 5.1 |
| `size` | integer | bytes | RTP payload on the wire, whatever the capture kept of it | |
| `sent_ns` | integer | ns on `sent_clock` | captured leaving the speaker's end; the least int64 where it was not observed | |
| `arrived_ns` | integer | ns on `arrived_clock` | captured at the listener's end; the least int64 for a packet that never arrived | |

The file's metadata holds what is one a trace: `clock_rate` (Hz), `ssrc`, the names of both clocks, `source`, `notes`, and the payload bytes where
they were kept. Two times may be subtracted only where the clocks have the same name. `earwitness.trace.table` reads and writes it.

## Ledgers: `*.ledger.parquet`

One row per codec frame that was sent, and one per frame length of playing that no frame filled, in order of the time that they were played or due.

| column | type | unit | definition |
| --- | --- | --- | --- |
| `packet` | integer | | row of the trace; -1 for a frame known only from a hole in the sequence numbers, and for a gap in the playing |
| `part` | integer | | which frame of the packet |
| `sequence` | integer | | of the packet; -1 where there is none |
| `timestamp` | integer | RTP ticks | of the frame's first sample |
| `sent_ns`, `arrived_ns` | integer | ns on the arrival clock | null where it did not happen or is not known |
| `due_ns` | integer | ns on the arrival clock | when its instant to play was, or would have been |
| `played_ns` | integer | ns on the arrival clock | when it was played; null where it was not |
| `audio_ms` | number | ms | where it begins in the heard audio |
| `fate` | text | | of a frame: played; stretched (faster or slower than spoken); late (arrived after its instant); discarded (in time, thrown away by the buffer); duplicate; lost. Of a gap: concealed; pause (the speaker was silent, nothing was missing) |
| `playout_delay_ms` | number | ms | played - arrived |
| `delay_ms` | number | ms | played - spoken: mouth to ear without the codec's look-ahead |

## Ground truth: `truth.parquet`

The lab's emulator writes one row per packet that it carried during the call, whoever's it was (for a call over Tor: those of
the relays too). It is written by the emulator alone, so the measurement can be checked against it.

| column | type | unit | definition |
| --- | --- | --- | --- |
| `in_ns` | integer | ns of CLOCK_MONOTONIC | read from the sender's device |
| `due_ns` | integer | ns of CLOCK_MONOTONIC | when it should leave; null where it was lost before |
| `out_ns` | integer | ns of CLOCK_MONOTONIC | when it left; null likewise |
| `source`, `destination` | text | | names of the hosts; null without a route |
| `protocol` | text | | udp, tcp, icmp or the protocol's number |
| `source_port`, `destination_port` | integer | | 0 for neither UDP nor TCP |
| `length` | integer | bytes | with the IP header |
| `fate` | text | | delivered, duplicate (a second copy, delivered), lost_random, lost_declared, queue_full, no_route, dead_host |
| `payload` | bytes | | the first 12 bytes above UDP |
| `rtp_sequence`, `rtp_timestamp`, `rtp_ssrc` | integer | | from the payload where it looks like RTP (version 2, not RTCP); else null |
"""


def dictionary() -> str:
    """The data dictionary as Markdown."""
    parts = [_INTRODUCTION, "## Rows: `calls.parquet`, `calls.csv`, and `rows` in the record\n", _row_table()]
    parts += ["## Outcomes\n", _outcomes(), "## Record: `record.json`\n", _record_table(CallRecord)]
    for name, kind in (
        ("clocks.<name>", Clock),
        ("path_details", PathFacts),
        ("path_details.streams.<flow>", StreamFacts),
        ("path_details.forwarders.<end>", ForwarderCounts),
        ("path_details.forwarders.<end>.flows.<flow>", FlowCounts),
        ("path_details.rtt", RoundTrips),
        ("path_details.throughput.<direction>", ThroughputFacts),
        ("circuit", CircuitFacts),
        ("circuit.relays[]", Hop),
        ("caller`, `callee", CallParty),
        ("speech", SpeechFacts),
        ("load", LoadFacts),
        ("instrument", SelfCheck),
        ("listening.<direction>", Rendering),
    ):
        parts += [f"### `{name}`\n", _record_table(kind)]
    parts.append(_TABLES)
    return "\n".join(parts)


def _row_table() -> str:
    lines = ["| column | type | unit | definition | source |", "| --- | --- | --- | --- | --- |"]
    hints = typing.get_type_hints(Row)
    for field in dataclasses.fields(Row):
        about = field.metadata
        cells = (_type(hints[field.name]), about["unit"], about["definition"], about["source"])
        lines.append(f"| `{field.name}` | {' | '.join(map(_cell, cells))} |")
    return "\n".join(lines) + "\n"


def _record_table(kind: type) -> str:
    lines = ["| key | type | definition |", "| --- | --- | --- |"]
    hints = typing.get_type_hints(kind)
    lines += [
        f"| `{field.name}` | {_cell(_type(hints[field.name]))} | {_cell(field.metadata['definition'])} |"
        for field in dataclasses.fields(kind)
        if not field.metadata.get("others")
    ]
    if any(field.metadata.get("sparse") for field in dataclasses.fields(kind)):
        lines += ["", "A key without a value is not written."]
    return "\n".join(lines) + "\n"


def _outcomes() -> str:
    """The endings of a call, each with the sentence that stands under it in `earwitness.errors`."""
    return (
        "`outcome` is one of: "
        + ", ".join(f"`{outcome}`" for outcome in Outcome)
        + ". `completed` is the only good one; the others are typed failures, defined in `earwitness/errors.py`, and"
        " `outcome_detail` says what was tried, on what, what happened and what to do.\n"
        f"Exit codes of the command line: {EarwitnessError.exit_code} something did not work, {InputError.exit_code}"
        f" a file or argument cannot be used, {CallFailure.exit_code} a call failed, 130 interrupted.\n"
    )


def _type(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in _NAMES:
        return _NAMES[hint]
    if origin is tuple:
        return f"list of {_type(arguments[0])}"
    if len(arguments) == 2 and type(None) in arguments:
        return f"{_type(arguments[0])} or null"
    if origin is not None and arguments:
        return f"object of {_type(arguments[1])}"
    return "text" if hint is Outcome else "object"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    sys.stdout.write(dictionary())
