"""With pseudonyms no name of anybody is in a bundle: planted in every place that a call has, none is found again."""

from __future__ import annotations

import gzip
import io
import json
import sqlite3
import struct
import tarfile
import traceback
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from earwitness.archive.dataset import Dataset
from earwitness.archive.facts import CallParty, Clock, Rendering, SelfCheck, SpeechFacts
from earwitness.archive.layout import CALL_FILES
from earwitness.archive.record import CallRecord, write_record
from earwitness.archive.schema import Row
from earwitness.bundle.bundle import bundle
from earwitness.bundle.names import Names
from earwitness.bundle.pseudonyms import Pseudonyms
from earwitness.errors import EarwitnessError, Outcome
from earwitness.lab.load.facts import LoadFacts
from earwitness.path.facts import CircuitFacts, Hop, PathFacts
from earwitness.tor.select import CircuitRequest
from earwitness.trace.model import Trace
from earwitness.trace.table import write_trace
from testing.bundle.archive import in_archive
from testing.commands import extract
from testing.study.simulated import SimulatedSlot, run_simulated

MACHINE = "gretchens-thinkpad"
SHORT_HOST = "pbxkiste"
FQDN = "sip.verein-beispiel.org"
PERSON = "gretchen"
ACCOUNT = "agent4711"
FOLDER = "quelle-geheim"
PATH = f"/home/{PERSON}/{FOLDER}/my notes/stimme-von-ihr.wav"
ADDRESS = "203.0.113.77"
ADDRESS6 = "2001:db8:77::1234"
MAC = "de:ad:be:ef:77:01"
ONION = "z" * 28 + "abcdefghijklmnopqrstuvwxyz23" + ".onion"
NICKNAME = "FluffyRelay77"
ASKED = "NeverInACircuit"
FINGERPRINT = "0123456789ABCDEF0123456789ABCDEF01234567"
SECRET = "hunter2secret"

CANARIES = (
    MACHINE,
    SHORT_HOST,
    FQDN,
    "verein-beispiel",
    PERSON,
    ACCOUNT,
    FOLDER,
    "my notes",
    "stimme-von-ihr",
    ADDRESS,
    ADDRESS6,
    MAC,
    ONION.removesuffix(".onion"),
    NICKNAME,
    ASKED,
    FINGERPRINT,
    SECRET,
)
ALL = (
    f"at {MACHINE} ({FQDN}, {SHORT_HOST}) {PERSON} of sip:{ACCOUNT}@{SHORT_HOST}:5060 and <sip:{ACCOUNT}@{ADDRESS}>"
    f" from {ADDRESS}:9001 and [{ADDRESS6}]:443, udp:{ADDRESS6}, last {ADDRESS}. {MAC} {ONION} {ONION.upper()}"
    f" ${FINGERPRINT}~{NICKNAME} {ASKED} {PATH} '{PATH}' file://{PATH.replace(' ', '')} ~{PERSON}/{FOLDER}/x"
    f" ../{FOLDER}/y.pcap {FOLDER}/z.wav tls://{SHORT_HOST}:8786"
)
SIP = (
    f'SIP/2.0 403 {PERSON} is not at {SHORT_HOST}\r\nVia: SIP/2.0/UDP {SHORT_HOST}:5060\r\nFrom: "{PERSON} x"'
    f' <sip:{ACCOUNT}@{FQDN}>\r\nWWW-Authenticate: Digest realm="{SHORT_HOST}", nonce="{SECRET}"\r\n\r\n'
    f"o={PERSON} 1 1 IN IP4 {ADDRESS}\r\n"
)
STUDY = f"""
# {PERSON} wrote this for {FOLDER}, password {SECRET}
version = 1
name = "sim" # {SECRET}
[call]
sip_server = "{SHORT_HOST}"
sip_accounts = "{PATH}"
[[path]]
name = "direct"
path = "direct"
[[path]]
name = "tor3"
path = "tor"
guard = "{ASKED}"
[axes]
codec = ["g711u"]
places = [["Frankfurt", "London"]]
"""


def fault() -> list[str]:
    """A traceback as the record has it."""
    try:
        open(PATH)  # noqa: PTH123, SIM115
    except OSError as error:
        return traceback.format_exception(error)
    raise AssertionError


def planted_record(call_id: str, outcome: Outcome) -> CallRecord:
    relay = Hop(nickname=NICKNAME, fingerprint=FINGERPRINT, address=ADDRESS, place="Paris", country="FR")
    row = Row(
        call_id=call_id,
        started_at="2026-01-02T03:04:05.000000000Z",
        network="public",
        path="tor",
        circuit=f"{NICKNAME}@Paris > {ASKED}@London",
        codec="g711u",
        from_place="Frankfurt",
        to_place="London",
        sip_server=SHORT_HOST,
        outcome=str(outcome),
        outcome_detail=ALL,
        verdict_reason=ALL,
        speech=PATH,
        source_capture=f"{FOLDER}/{PERSON}/caller 1.pcap",
        source_recording=f"{FOLDER}/stimme-von-ihr.wav",
        codec_claimed=FOLDER + "/x.wav",
        doubts=f"not scored: {FOLDER}/stimme-von-ihr.wav; {ALL}",
        instrument_detail=ALL,
        mos_lqo=3.25,
        direction="to_callee",
    )
    return CallRecord(
        call_id=call_id,
        started_at="2026-01-02T03:04:05.000000000Z",
        command=(
            f"/home/{PERSON}/{FOLDER}/bin/earwitness",
            "call",
            "--to",
            f"{SHORT_HOST}:7717",
            "--invitation",
            PATH,
            "--speech",
            PATH,
            "--sip-server",
            FQDN,
            f"--sip-accounts={PATH}",
            "--from",
            "Frankfurt",
            "--seed",
            "7",
            f"--name={MACHINE}",
        ),
        versions={
            "tor": "0.4.9.11",
            "kernel": f"6.1.0-13-{MACHINE}",
            "callee_python": ADDRESS,
            "numpy": f"2.1+{PERSON}",
        },
        seed=7,
        clocks={
            "call": Clock(kind="CLOCK_MONOTONIC", host="this machine"),
            "callee": Clock(kind=f"of {MACHINE}", host=MACHINE),
            f"capture {FOLDER}/{PERSON}.pcap": Clock(kind="time stamps of the imported capture", host=SHORT_HOST),
        },
        network="public",
        plan={
            "path": "tor",
            "guard": ASKED,
            "exit": "Paris",
            "speech": PATH,
            "sip_server": f"{SHORT_HOST}:5070",
            "sip_accounts": PATH,
            "from_place": "Frankfurt",
            "to_place": "London",
            "study": {"study": "sim", "block": "1.1", "arm": "tor3", "attempt": 1},
        },
        path="tor",
        path_details=PathFacts(
            rendezvous=NICKNAME,
            circuit_request=CircuitRequest(guard=ASKED, exit="Paris"),
            others={
                "service": ONION,
                "host": MACHINE,
                "connections": [{"peer": f"{ADDRESS}:443", "local": ADDRESS6, "user": ACCOUNT}],
                "files": {PATH: PATH},
                "token": SECRET,
            },
        ),
        circuit=CircuitFacts(id="17", relays=(relay, replace(relay, nickname=ASKED))),
        caller=CallParty(place="Frankfurt", host="caller", address=ADDRESS),
        callee=CallParty(place="London", host=MACHINE, address=ADDRESS6),
        codec="g711u",
        speech=SpeechFacts(name=PATH, attribution=f"spoken by {PERSON}", seconds=3.0),
        outcome=outcome,
        outcome_detail=str(EarwitnessError("reaching", f"{SHORT_HOST} ({ADDRESS})", ALL, f"see {PATH}")),
        stage=f"reading {PATH}",
        evidence={
            "traceback": fault(),
            "log": [ALL, f"No such file: {PATH}"],
            "host": SHORT_HOST,
            "hops": [NICKNAME, ASKED],
            "sip_caller": [{"at_ns": 1, "sent": False, "peer": f"{SHORT_HOST}:5060", "text": SIP}],
            "sip_callee": [
                {"at_ns": 1, "sent": True, "peer": ADDRESS, "text": f"INVITE sip:{ACCOUNT}@{FQDN} SIP/2.0\r\n"}
            ],
            f"of {SHORT_HOST}": {"username": ACCOUNT, "realm": SHORT_HOST, "password": SECRET, "output": [ALL]},
        },
        load=LoadFacts(load="web:3", last_failure=ALL),
        instrument=SelfCheck(processes=("caller", NICKNAME), cpu_wait_mean_ms=0.1),
        milestones={"invite_sent": 1, f"seen at {MACHINE}": 2},
        milestones_clock="call",
        listening={"to_callee": Rendering(origin_ns=1, buffer="fixed:60", concealment=PATH, shares={"played": 1.0})},
        rows=(row, replace(row, direction="to_caller")),
        notes=(ALL, f"the callee's capture: {SHORT_HOST}: {PATH}: no such file"),
    )


def wav() -> bytes:
    """A sound that says in chunks before and behind its samples who made it."""
    samples = np.arange(200, dtype="<i2").tobytes()
    note = f"{PERSON} {PATH}".encode()
    note += b" " * (len(note) % 2)
    chunks = [
        b"LIST" + struct.pack("<I", 12 + len(note)) + b"INFOIART" + struct.pack("<I", len(note)) + note,
        b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 16000, 2, 16),
        b"bext" + struct.pack("<I", len(note)) + note,
        b"data" + struct.pack("<I", len(samples)) + samples,
        b"id3 " + struct.pack("<I", len(note)) + note,
    ]
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body + note


def planted_files(folder: Path) -> None:
    """Every file that a call's folder can have, each with names in it."""
    for name in CALL_FILES:
        if name.endswith(".wav"):
            (folder / name).write_bytes(wav())
        elif name.endswith(".pcap"):
            (folder / name).write_bytes(ALL.encode())
        elif name.endswith(".ovpn"):
            (folder / name).write_text(
                f"# of {PERSON}\nremote {ADDRESS} 1194\nremote {FQDN} 1194\nsocks-proxy {ADDRESS} 9050 {PATH}\n"
                f"lladdr {MAC}\nremote {SHORT_HOST} 1194\n"
            )
    sequence = np.arange(3, dtype=np.int64)
    trace = Trace(
        sequence=sequence,
        timestamp=sequence * 160,
        payload_type=np.zeros(3, np.uint8),
        marker=np.zeros(3, bool),
        size=np.full(3, 160, np.int32),
        sent_ns=sequence,
        arrived_ns=sequence + 5,
        clock_rate=8000,
        ssrc=99,
        sent_clock="call",
        arrived_clock=f"capture {FOLDER}/{PERSON}.pcap",
        source=f"{PATH} > {PATH}",
        notes=(ALL, f"{PATH}: cut"),
    )
    write_trace(trace, folder / "to_callee.trace.parquet")
    write_trace(trace, folder / "to_caller.trace.parquet")
    # Whatever pandas, or a later Earwitness, puts beside the columns: metadata of the table and of a column, a column.
    for name in ("to_caller.trace.parquet", "to_callee.ledger.parquet", "to_caller.ledger.parquet", "truth.parquet"):
        if "trace" in name:
            table = pq.read_table(folder / name)
        elif "ledger" in name:
            numbers = [
                "packet",
                "part",
                "sequence",
                "timestamp",
                "sent_ns",
                "arrived_ns",
                "due_ns",
                "played_ns",
                "playout_delay_ms",
                "delay_ms",
            ]
            frame = pd.DataFrame({name: [0, 1] for name in numbers} | {"audio_ms": [0.0, 20.0]})
            frame["fate"] = pd.Categorical(["played", ALL])
            table = pa.Table.from_pandas(frame.set_index(pd.Index([ALL, PATH], name=PATH)))
        else:
            table = pa.table(
                {
                    "in_ns": [1, 2],
                    "source": ["caller", NICKNAME],
                    "destination": [MACHINE, None],
                    "payload": [b"INVITE sip:" + ACCOUNT.encode(), b"\x80\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x63"],
                    "rtp_ssrc": pa.array([None, 99], pa.int64()),
                }
            )
        table = table.append_column(
            pa.field("remark", pa.string(), metadata={"by": PERSON}), pa.array([ALL] * len(table))
        )
        field = table.schema.field(0).with_metadata({"from": PATH})
        table = table.set_column(0, field, table.column(0))
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), b"written_by": ALL.encode()})
        pq.write_table(table, folder / name)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp(f"{PERSON}-home") / FOLDER
    plain = STUDY.replace(f'sip_server = "{SHORT_HOST}"\n', "").replace(f'sip_accounts = "{PATH}"\n', "")
    run_simulated(plain, out, [SimulatedSlot()])
    (out / "study" / "study.toml").write_text(STUDY)
    with sqlite3.connect(out / "study" / "journal.sqlite") as journal:
        owner = json.dumps({"host": MACHINE, "pid": 1, "since": "now", "user": PERSON, "cwd": PATH})
        journal.execute("UPDATE runs SET owner = ?, ending = ?", (owner, ALL))
        journal.execute("UPDATE calls SET why = ?", (ALL,))
        journal.execute("UPDATE attempts SET why = ?", (ALL,))
        (plan,) = journal.execute("SELECT plan FROM calls LIMIT 1").fetchone()
        plan = json.loads(plan) | {"speech": PATH, "sip_server": SHORT_HOST, "sip_accounts": PATH}
        journal.execute("UPDATE calls SET plan = ? WHERE position = 1", (json.dumps(plan),))
        journal.execute("INSERT INTO meta VALUES ('note', ?)", (ALL,))
        journal.execute("CREATE TABLE diary (text)")
        journal.execute("INSERT INTO diary VALUES (?)", (ALL,))
    journal.close()
    with Dataset.open(out) as dataset:
        for call_id, outcome in (("whole", Outcome.COMPLETED), (f"{PERSON}-{MACHINE}.1", Outcome.CALL_REJECTED)):
            with dataset.new_call(call_id) as folder:
                planted_files(folder)
                write_record(folder, planted_record(call_id, outcome))
                plain_record = json.loads((folder / "record.json").read_text()) | {"of_a_later_version": ALL, PERSON: 1}
                (folder / "record.json").write_text(json.dumps(plain_record))
                (folder / "notes.txt").write_text(ALL)
    about = json.loads((out / "dataset.json").read_text()) | {"made_by": PERSON, "where": PATH}
    (out / "dataset.json").write_text(json.dumps(about))
    for name in ("report.html", "whatif/whatif.html"):
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text(ALL)
    return out


def contents(name: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    """The bytes of a file and of everything that is packed in it."""
    yield name, data
    if data[:2] == b"\x1f\x8b":
        yield from contents(f"{name}!", gzip.decompress(data))
    elif data[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            for inner in packed.namelist():
                yield from contents(f"{name}!{inner}", packed.read(inner))
    elif data[:4] == b"PAR1":
        table = pq.read_table(io.BytesIO(data))
        yield f"{name}!schema", str(table.schema).encode() + repr(table.schema.metadata).encode()
        yield f"{name}!fields", repr([(field.name, field.metadata) for field in table.schema]).encode()
        plain = io.BytesIO()
        pq.write_table(table, plain, compression="none", use_dictionary=False)
        yield f"{name}!pages", plain.getvalue()
        yield f"{name}!metadata", repr(pq.ParquetFile(io.BytesIO(data)).metadata.to_dict()).encode()
    elif data[:6] == b"SQLite":
        connection = sqlite3.connect(":memory:")
        connection.deserialize(data)
        yield f"{name}!dump", "\n".join(connection.iterdump()).encode()
        connection.close()


def found_in(archive: Path) -> list[str]:
    leaks = []
    with tarfile.open(archive) as tar:
        for member in tar:
            data = in_archive(tar, member)
            for where, content in contents(member.name, data):
                text = content + b"\n" + member.name.encode() + json.dumps(member.pax_headers).encode()
                for name in CANARIES:
                    for form in {name.encode(), name.lower().encode(), name.upper().encode(), name.encode("utf-16-le")}:
                        if form in text:
                            at = text.index(form)
                            leaks.append(f"{name} in {where}: {text[max(0, at - 60) : at + 60]!r}")
    return leaks


@pytest.mark.parametrize("audio", [True, False])
def test_no_name_is_found_again(directory: Path, tmp_path: Path, audio: bool) -> None:
    def draw(data: Path, folder: Path) -> list[Path]:
        raise EarwitnessError("drawing", f"{data} {PATH}", ALL, "look")

    made = bundle(directory, tmp_path / "out.tar.gz", pseudonyms=True, audio=audio, draw=draw)
    leaks = found_in(made.path)
    assert not leaks, "\n".join(leaks)
    assert made.calls == len(Dataset.open(directory))


def test_without_pseudonyms_the_search_finds_them(directory: Path, tmp_path: Path) -> None:
    """The search itself is good: in a bundle with names it finds every one."""
    made = bundle(directory, tmp_path / "out.tar.gz")
    leaks = "\n".join(found_in(made.path))
    assert not [name for name in CANARIES if name not in leaks]
    for where in ("trace.parquet!schema", "ledger.parquet!schema", "truth.parquet!", "record.json", "to_callee.wav"):
        assert where in leaks, where
    with tarfile.open(made.path) as tar:
        journal = in_archive(tar, "out/data/study/journal.sqlite")
        assert PERSON.encode() in journal


def test_what_is_left_can_be_read_and_agrees_with_itself(directory: Path, tmp_path: Path) -> None:
    made = bundle(directory, tmp_path / "out.tar.gz", pseudonyms=True)
    with tarfile.open(made.path) as tar:
        extract(tar, tmp_path / "x")
    data = Dataset.open(tmp_path / "x" / "out" / "data")
    assert not data.problems()
    call = data.call("whole")
    record = call.record
    assert record.command == (
        *("earwitness", "call", "--to", "...", "--invitation", "...", "--speech", "...", "--sip-server", "..."),
        *("--sip-accounts=...", "--from", "Frankfurt", "--seed", "7", "--name=..."),
    )
    assert record.versions == {"tor": "0.4.9.11", "kernel": "6.1.0-13", "callee_python": "", "numpy": "2.1"}
    assert (record.caller.host, record.caller.place, record.plan["exit"]) == ("caller", "Frankfurt", "Paris")
    assert record.callee.host == record.clocks["callee"].host != ""
    assert record.circuit.relays[1].nickname == record.plan["guard"]
    assert record.rows[0].circuit == f"{record.circuit.relays[0].nickname}@Paris > {record.plan['guard']}@London"
    assert record.circuit.relays[0].address in record.rows[0].outcome_detail
    assert record.rows[0].mos_lqo == 3.25
    trace = call.trace("to_callee")
    assert trace.arrived_clock in record.clocks
    assert list(trace.arrived_ns - trace.sent_ns) == [5, 5, 5]
    samples, rate = call.heard("to_callee")
    assert (list(samples), rate) == (list(range(200)), 8000)
    assert call.ledger("to_callee")["audio_ms"].tolist() == [0.0, 20.0]
    truth = call.truth()
    assert truth["source"].tolist() == ["caller", record.circuit.relays[0].nickname]
    assert truth["payload"].isna().tolist() == [True, False]
    other = next(one for one in data.calls() if one.record.outcome == "call_rejected")
    assert {row.call_id for row in other.rows} == {other.call_id}
    first = other.record.evidence["sip_callee"][0]["text"]
    assert first.startswith("INVITE sip:user-")
    assert first.endswith(" SIP/2.0")


def test_names_in_texts_are_known_by_their_form() -> None:
    masks = Pseudonyms(b"key")
    for text, kept in (
        ("see 203.0.113.9.", "see 2001:db8:"),
        ("udp:2001:db8:5::1 or [fe80::1%eth0]:5", "udp:2001:db8:"),
        ("at host.example.org:443, then", "at host-"),
        ("sip:alice@10.1.2.3", "sip:user-"),
        ("reading '/home/a b/c.wav': no", "reading 'file-"),
        ("calls/a/record.json: no", "record.json: no"),
        ('a File "/usr/lib/python3.11/asyncio/base.py", line 3', 'a File "base.py", line 3'),
        (
            "12 packets/s, 3 and/or 4, e.g. 5.0 ms; earwitness.errors.CallFailure",
            "12 packets/s, 3 and/or 4, e.g. 5.0 ms; ear",
        ),
        ("started_at 2026-01-02T03:04:05.123456789Z", "started_at 2026-01-02T03:04:05.123456789Z"),
        (
            "opus:24000,fec=1 fixed:60 caller-callee:jitter=5 00:11:22",
            "opus:24000,fec=1 fixed:60 caller-callee:jitter=5 00:11",
        ),
    ):
        assert masks.text(text).startswith(kept), masks.text(text)
    assert masks.text("alice@10.1.2.3").endswith(masks.text("10.1.2.3"))


def test_words_that_name_nobody_are_no_names(tmp_path: Path) -> None:
    names = Names.of_here(tmp_path)
    for host in ("caller", "callee2", "server", "lab", "localhost", "", "10"):
        names.host(host)
    names.in_plan({"guard": "Paris", "exit": "Berlin,Frankfurt", "speech": "allison-10s"})
    names.people |= {"root", "user", "data"}
    found = names.settled()
    assert not found.relays
    assert not {"caller", "callee2", "server", "lab", "localhost", "10", ""} & found.machines
    assert not {"root", "user", "data"} & found.people
