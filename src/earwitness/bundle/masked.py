"""Writes the files of a call with pseudonyms: known harmless parts are kept, names are replaced, the rest is dropped.

Each file is rebuilt from the parts that the layout knows: a record from its fields, a table from its columns (without
metadata except a trace's own, rewritten), audio from its format and samples.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from earwitness.archive.codec import from_plain, to_plain
from earwitness.archive.facts import CallParty, Clock, SelfCheck
from earwitness.archive.record import CallRecord
from earwitness.archive.schema import Row
from earwitness.bundle.pseudonyms import Pseudonyms
from earwitness.errors import InputError
from earwitness.files import MIB
from earwitness.lab.load.facts import LoadFacts
from earwitness.path.facts import CircuitFacts, Hop, PathFacts
from earwitness.speech.reference import speech_names
from earwitness.trace.parquet import parse_plain
from earwitness.trace.parquet_layout import MOST_BYTES

_TRACE_KEY = b"earwitness.trace"
_TRACE_COLUMNS = frozenset("sequence timestamp payload_type marker size sent_ns arrived_ns payload".split())  # noqa: SIM905
_LEDGER_COLUMNS = frozenset(
    "packet part sequence timestamp sent_ns arrived_ns due_ns played_ns audio_ms fate playout_delay_ms"  # noqa: SIM905
    " delay_ms".split()
)
_TRUTH_COLUMNS = frozenset(
    "in_ns due_ns out_ns source destination protocol source_port destination_port length fate payload"  # noqa: SIM905
    " rtp_sequence rtp_timestamp rtp_ssrc".split()
)
_OPTION = re.compile(r"--?[a-z][a-z-]*")
_HARMLESS_OPTIONS = frozenset(
    "--path --hops --codec --from --seconds --buffer --concealment --phone --wait --security --rtt-probes"  # noqa: SIM905
    " --seed --link --load --relay-mbit --resamples --calls --workers".split()
)
"""Options whose values identify nobody."""
LEFT_OUT = "..."
Facts = TypeVar("Facts", PathFacts, LoadFacts, SelfCheck)
_LONGEST_FORMAT = 40
"""Bytes of a WAV file's format chunk (WAVE_FORMAT_EXTENSIBLE)."""


# -- the record ------------------------------------------------------------------------------------------


def mask_record(record: CallRecord, masks: Pseudonyms) -> CallRecord:
    """The record with pseudonyms. Fields unknown to this version are dropped."""
    text = masks.text
    return replace(
        record,
        call_id=masks.call_id(record.call_id),
        started_at=text(record.started_at),
        command=mask_command(record.command, masks),
        versions={text(name): masks.version(version) for name, version in record.versions.items()},
        clocks={masks.clock(name): _clock(clock, masks) for name, clock in record.clocks.items()},
        network=text(record.network),
        plan=mask_plan(record.plan, masks),
        path=text(record.path),
        path_details=_facts(record.path_details, masks),
        circuit=CircuitFacts(
            id=record.circuit.id if record.circuit.id.isalnum() else "",
            relays=tuple(_relay(relay, masks) for relay in record.circuit.relays),
        ),
        caller=_end(record.caller, masks),
        callee=_end(record.callee, masks),
        codec=text(record.codec),
        phone=text(record.phone),
        speech=replace(
            record.speech,
            name=_speech(record.speech.name, masks),
            attribution=record.speech.attribution if record.speech.name in speech_names() else "",
        ),
        outcome_detail=text(record.outcome_detail),
        stage=text(record.stage),
        evidence=_evidence(record.evidence, masks),
        load=_facts(record.load, masks),
        instrument=_facts(record.instrument, masks),
        milestones={text(name): at for name, at in record.milestones.items()},
        milestones_clock=masks.clock(record.milestones_clock),
        listening={
            text(name): replace(
                one, buffer=text(one.buffer), concealment=text(one.concealment), shares=masks.plain(one.shares)
            )
            for name, one in record.listening.items()
        },
        rows=tuple(_row(row, masks) for row in record.rows),
        notes=tuple(map(text, record.notes)),
    )


def mask_command(command: tuple[str, ...], masks: Pseudonyms) -> tuple[str, ...]:
    """The command's option names, and values that can identify nobody; others become `...` (the plan has them)."""
    kept = ["earwitness"] if command else []
    option, verbs = "", True
    for word in command[1:]:
        name, equals, value = word.partition("=")
        if _OPTION.fullmatch(name):
            option, verbs = ("" if equals else name), False
            kept.append(name + (f"={_value(name, value, masks)}" if equals else ""))
        elif verbs and re.fullmatch(r"[a-z]{2,12}", word):
            kept.append(word)  # call, study run
        else:
            kept.append(_value(option, word, masks))
            option, verbs = "", False
    return tuple(kept)


def _value(option: str, value: str, masks: Pseudonyms) -> str:
    harmless = option in _HARMLESS_OPTIONS or re.fullmatch(r"-?\d+(?:\.\d+)?", value)
    return masks.text(value) if harmless and "/" not in value else LEFT_OUT


def mask_plan(plan: Mapping[str, Any], masks: Pseudonyms) -> dict[str, Any]:
    """The plan of a call with pseudonyms."""
    masked: dict[str, Any] = masks.plain(plan)
    if isinstance(plan.get("speech"), str):
        masked["speech"] = _speech(plan["speech"], masks)
    if plan.get("sip_accounts"):
        masked["sip_accounts"] = ""
    return masked


def _speech(name: str, masks: Pseudonyms) -> str:
    return name if not name or name in speech_names() else masks.file(name)


def _facts(facts: Facts, masks: Pseudonyms) -> Facts:
    """Facts with every text in them masked."""
    return from_plain(type(facts), masks.plain(to_plain(facts)))


def _clock(clock: Clock, masks: Pseudonyms) -> Clock:
    return replace(clock, kind=masks.text(clock.kind), host=masks.machine(clock.host))


def _relay(relay: Hop, masks: Pseudonyms) -> Hop:
    return replace(
        relay,
        nickname=masks.relay(relay.nickname),
        fingerprint=masks.fingerprint(relay.fingerprint),
        address=masks.address(relay.address),
    )


def _end(end: CallParty, masks: Pseudonyms) -> CallParty:
    return replace(end, host=masks.machine(end.host), address=masks.address(end.address))


def _row(row: Row, masks: Pseudonyms) -> Row:
    changed: dict[str, Any] = {
        name: masks.text(value) for name, value in row.to_dict().items() if isinstance(value, str)
    }
    hops = [hop.rpartition("@") for hop in row.circuit.split(" > ") if hop]
    changed["circuit"] = " > ".join(f"{masks.relay(name)}@{place}" for name, _, place in hops)
    changed["call_id"] = masks.call_id(row.call_id)
    changed["speech"] = _speech(row.speech, masks)
    changed["sip_server"] = masks.machine(row.sip_server)
    for name in ("source_capture", "source_recording"):
        changed[name] = masks.file(getattr(row, name)) if getattr(row, name) else ""
    return replace(row, **changed)


def _evidence(evidence: Mapping[str, Any], masks: Pseudonyms) -> dict[str, Any]:
    """Evidence such as log lines with pseudonyms; of SIP messages only the first line, since the rest is full of
    names."""
    plain: dict[str, Any] = {}
    for name, value in evidence.items():
        if name.startswith("sip") and isinstance(value, list):
            value = [_first_line(entry) for entry in value]
        plain[masks.text(name)] = masks.plain(value, name)
    return plain


def _first_line(entry: Any) -> Any:
    if isinstance(entry, Mapping) and isinstance(entry.get("text"), str):
        return {**entry, "text": entry["text"].partition("\n")[0].rstrip("\r")}
    return entry.partition("\n")[0] if isinstance(entry, str) else entry


# -- tables ----------------------------------------------------------------------------------------------


def read_table(file: BinaryIO) -> pa.Table:
    """A Parquet table of limited size. Raises ValueError with the reason if it is unusable."""
    try:
        return parse_plain(file.read(MOST_BYTES + 1), "a table", "reading", "make it again")
    except InputError as error:
        raise ValueError(error.happened) from error


def without_payload(table: pa.Table) -> pa.Table:
    """A trace without its packets' payloads, which are the audio; unknown columns are dropped."""
    table = _known(table, _TRACE_COLUMNS)
    if "payload" not in table.column_names:
        return table
    index = table.schema.get_field_index("payload")
    field = table.schema.field(index)
    return table.set_column(index, field, pa.nulls(table.num_rows, field.type))


def mask_trace(table: pa.Table, masks: Pseudonyms) -> pa.Table:
    """A trace: its columns, and from its metadata the numbers, clocks and notes."""
    about = (table.schema.metadata or {}).get(_TRACE_KEY)
    table = _bare(_known(table, _TRACE_COLUMNS), masks)
    if about is None:
        return table
    plain = json.loads(about)
    kept: dict[str, Any] = {name: int(plain[name]) for name in ("version", "clock_rate", "ssrc") if name in plain}
    kept |= {name: masks.clock(str(plain.get(name, ""))) for name in ("sent_clock", "arrived_clock")}
    kept |= {"source": "", "notes": [masks.text(str(note)) for note in plain.get("notes", ())]}
    return table.replace_schema_metadata({_TRACE_KEY: json.dumps(kept).encode()})


def mask_ledger(table: pa.Table, masks: Pseudonyms) -> pa.Table:
    """A ledger: its columns."""
    return _bare(_known(table, _LEDGER_COLUMNS), masks)


def mask_truth(table: pa.Table, masks: Pseudonyms) -> pa.Table:
    """The emulator's log: its columns; payloads only if they are RTP headers."""
    table = _bare(_known(table, _TRUTH_COLUMNS), masks)
    if {"payload", "rtp_ssrc"} <= set(table.column_names):
        index = table.schema.get_field_index("payload")
        field = table.schema.field(index)
        nothing = pa.scalar(None, field.type)
        headers = pc.if_else(pc.is_valid(table.column("rtp_ssrc")), table.column("payload"), nothing)
        table = table.set_column(index, field, headers)
    elif "payload" in table.column_names:
        table = table.drop_columns(["payload"])
    return table


def _known(table: pa.Table, columns: frozenset[str]) -> pa.Table:
    return table.select([name for name in table.column_names if name in columns])


def _bare(table: pa.Table, masks: Pseudonyms) -> pa.Table:
    """A table without metadata, its texts with pseudonyms."""
    arrays, fields = [], []
    for name in table.column_names:
        column = table.column(name)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
            coded = True
        else:
            coded = False
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            others = {text: masks.text(text) for text in column.unique().to_pylist() if text is not None}
            column = pa.chunked_array([pa.array([others.get(text) for text in column.to_pylist()], column.type)])
        elif not (pa.types.is_primitive(column.type) or name == "payload"):
            continue
        column = column.dictionary_encode() if coded else column
        arrays.append(column)
        fields.append(pa.field(name, column.type))
    return pa.table(arrays, schema=pa.schema(fields))


# -- audio -----------------------------------------------------------------------------------------------


def bare_wav(source: BinaryIO, target: Path) -> None:
    """Copy audio with only its format and samples: other chunks reveal its author, software and source file.

    Raises ValueError if it is not a WAV file (RIFF).
    """
    size = source.seek(0, 2)
    source.seek(0)
    head = source.read(12)
    if len(head) < 12 or head[:4] != b"RIFF" or head[8:] != b"WAVE":
        raise ValueError("not a WAV file")
    form, data = b"", None
    while data is None or not form:
        chunk = source.read(8)
        if len(chunk) < 8:
            break
        name, length = chunk[:4], int.from_bytes(chunk[4:], "little")
        at = source.tell()
        if name == b"fmt " and not form:
            form = source.read(min(length, _LONGEST_FORMAT))
        elif name == b"data" and data is None:
            data = at, min(length, size - at)
        source.seek(at + length + length % 2)
    if len(form) < 16 or data is None:
        raise ValueError("not a WAV file")
    source.seek(data[0])
    with target.open("xb") as out:
        out.write(b"RIFF" + struct.pack("<I", 20 + len(form) + data[1]) + b"WAVEfmt " + struct.pack("<I", len(form)))
        out.write(form + b"data" + struct.pack("<I", data[1]))
        left = data[1]
        while left and (part := source.read(min(left, MIB))):
            out.write(part)
            left -= len(part)


# -- texts -----------------------------------------------------------------------------------------------


def without_comments(toml: str) -> str:
    """A TOML text without its comments, which may contain anything."""
    return re.sub(
        r'("""(?:\\.|[^\\])*?"""|\'\'\'.*?\'\'\'|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\')|[ \t]*#[^\n]*',
        lambda match: match[1] or "",
        toml,
        flags=re.DOTALL,
    )
