"""Hostile peers of the control channel that are known by their certificates: mutated values, callers, answerers.

`python -m bench remote` runs thousands of their sessions, `test_hostile.py` a few.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from earwitness.remote.certificates import AnswerKeys, Invitation, client_context, server_context
from earwitness.remote.channel import Message, encode, read
from testing.commands import EARWITNESS, INSIDE

STRANGE: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2**31, 2**63, 10**400, -(10**30), 1e308, 1e-320, float("nan"), float("inf"), "", "x" * 5000,
    "\ud800", "\x1b[2J\n", "127.0.0.1", "../../etc/passwd", "callee.pcap", [], {}, [[[[[[[[[]]]]]]]]], ["a"] * 3000,
    {"a": {"b": {"c": [1, {}]}}}, {str(n): n for n in range(500)}, "169.254.169.254", "0\nup /bin/sh",
)  # fmt: skip
"""In the place of any value."""


def mutated(value: Any, chance: Random, times: int = 1) -> Any:
    """The value with some of its parts replaced, dropped or doubled."""
    for _ in range(times):
        value = _mutated_once(value, chance)
    return value


def _mutated_once(value: Any, chance: Random) -> Any:
    if isinstance(value, dict) and value and chance.random() < 0.85:
        key = chance.choice(list(value))
        if chance.random() < 0.15:
            return {name: one for name, one in value.items() if name != key}
        if chance.random() < 0.1:
            return {**value, chance.choice(("x", "\ud800", key + "x")): chance.choice(STRANGE)}
        return {**value, key: _mutated_once(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.7:
        at = chance.randrange(len(value))
        return [*value[:at], _mutated_once(value[at], chance), *value[at + 1 :]]
    return chance.choice(STRANGE)


# -- what runs, and how much of the machine it takes ------------------------------------------------------


def descendants(pid: int) -> list[int]:
    """A process and all that it started, and they."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, IndexError):
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(path.parent.name))
    found, new = [], [pid]
    while new:
        found += new
        new = [child for one in new for child in children.get(one, [])]
    return found


def resident_mib(pids: list[int]) -> list[float]:
    """What each holds in memory now; those that are gone hold none."""
    page = os.sysconf("SC_PAGE_SIZE")
    found = []
    for pid in pids:
        with contextlib.suppress(OSError):
            found.append(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * page / 2**20)
    return found


@dataclass
class Watched:
    """A process of ours, and the most memory that one, and all, of its processes had when they were looked at."""

    process: subprocess.Popen[bytes]
    log: Path
    worst_one_mib: float = 0.0
    worst_all_mib: float = 0.0

    def look(self) -> None:
        """Look now."""
        found = resident_mib(descendants(self.process.pid)) or [0.0]
        self.worst_one_mib = max(self.worst_one_mib, *found)
        self.worst_all_mib = max(self.worst_all_mib, sum(found))

    async def looking(self) -> None:
        """Look again and again."""
        while True:
            self.look()
            await asyncio.sleep(0.1)

    @property
    def said(self) -> str:
        """Its log."""
        return self.log.read_text(errors="replace")


@dataclass
class Answer(Watched):
    """A real `earwitness answer` on loopback, in a sandbox of its own."""

    invitation: Invitation = field(default_factory=lambda: Invitation("", "", "", ""))
    port: int = 0
    ended_in_s: float = -1.0
    left: list[int] = field(default_factory=list)
    """Processes of it that outlived it."""

    def end(self) -> int:
        """SIGTERM, and its exit code."""
        before, began = descendants(self.process.pid), time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.ended_in_s = time.monotonic() - began
        deadline = time.monotonic() + 5.0
        while (left := [pid for pid in before if _runs(pid)]) and time.monotonic() < deadline:
            time.sleep(0.05)
        self.left = left
        return self.process.returncode


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@contextmanager
def answering(folder: Path, *options: str) -> Iterator[Answer]:
    """One that runs until leaving."""
    folder.mkdir(parents=True, exist_ok=True)
    invitation, log = folder / "invitation.json", folder / "answer.log"
    argv = [*INSIDE, *EARWITNESS, "answer", "--listen", "127.0.0.1:0"]
    argv += ["--invitation", str(invitation), "--store", str(folder / "store"), *options]
    environment = {**os.environ, "XDG_STATE_HOME": str(folder), "TMPDIR": str(folder), "COLUMNS": "200"}
    with log.open("wb") as errors:
        process = subprocess.Popen(argv, stderr=errors, stdout=errors, env=environment)
    answer = Answer(process, log)
    try:
        deadline = time.monotonic() + 30
        while "answering at" not in answer.said:
            assert process.poll() is None, answer.said
            assert time.monotonic() < deadline, answer.said
            time.sleep(0.05)
        answer.invitation = Invitation.read(invitation)
        answer.port = int(answer.said.partition("answering at 127.0.0.1:")[2].split()[0])
        yield answer
    finally:
        answer.end()


# -- a hostile caller ---------------------------------------------------------------------------------------

SETUP = {
    "address": "10.99.1.1", "epoch_offset_ns": 0, "user": "callee", "sip_port": 5060, "rtp_port": 4000,
    "codec": "g711u", "accepts": [], "speech": "", "seconds": 1.0, "remote_seconds": None, "silence_suppression": False,
    "seed": 1, "server": None, "t1_s": 0.5, "rtcp_minimum_s": 1.0, "no_media_s": 5.0, "peers": ["10.99.1.2"],
}  # fmt: skip
FORWARDER = {
    "role": "callee", "tun": 0, "local": "", "remote": "", "listen": "127.0.0.1", "alone": False, "token": "t" * 32,
    "flows": {"sip": [5060, 5060], "rtp": [4000, 4000], "rtcp": [4001, 4001], "other": None},
}  # fmt: skip


def _own_noise(record: logging.LogRecord) -> bool:
    return record.getMessage() not in ("socket.send() raised exception.", "SSL connection is closed")


logging.getLogger("asyncio").addFilter(_own_noise)


class Caller:
    """An invited caller that sends what it likes."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._context = client_context(answer.invitation)
        self.session = ""
        self.sent = 0
        self.got = 0

    async def connect(self, hello: Any = None) -> Message | None:
        """Connect and say hello; the reply, None where there is none."""
        self.reader, self.writer = await asyncio.open_connection(
            "127.0.0.1", self._answer.port, ssl=self._context, server_hostname="earwitness", limit=1 << 23
        )
        hello = hello or {"earwitness": 1, "session": self.session, "received": self.got}
        self.raw(hello if isinstance(hello, bytes) else json.dumps(hello).encode() + b"\n")
        try:
            reply, _ = await read(self.reader, 5.0)
        except OSError:
            return None
        if "session" in reply:
            self.session = reply["session"]
        return reply

    def raw(self, data: bytes) -> None:
        """Send bytes."""
        self.writer.write(data)

    def send(self, message: Message, blob: bytes = b"") -> None:
        """Send a message with the number that is expected."""
        self.sent += 1
        self.raw(encode({**message, "n": self.sent}, blob))

    async def hear(self, seconds: float, until: Callable[[Message], bool] = lambda _message: False) -> list[Message]:
        """What comes within so long, acknowledged."""
        heard: list[Message] = []
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    message, _ = await read(self.reader, seconds)
                    self.got = message.get("n", self.got)
                    self.raw(encode({"ack": self.got}))
                    heard.append(message)
                    if until(message):
                        break
        return heard

    async def ask(self, do: str, seconds: float = 20.0, **given: Any) -> Message:
        """Ask for something properly."""
        number = self.sent + 1
        self.send({"id": number, "do": do, "with": given})
        heard = await self.hear(seconds, lambda message: message.get("re") == number)
        assert heard, f"no answer to {do}"
        assert heard[-1].get("re") == number, f"no answer to {do}: {heard[-3:]}"
        return heard[-1]

    async def leave(self) -> None:
        """End the visit, over a new connection where need be."""
        for _ in range(100):
            with contextlib.suppress(OSError, TimeoutError, AssertionError):
                self.writer.transport.abort()
                reply = await self.connect()
                if reply is None or "refused" in reply:
                    if reply is not None and reply.get("unknown"):
                        break
                    await asyncio.sleep(0.05)
                    continue
                # What is asked now follows what the other side has; the numbers of a mutated stream may be off.
                self.sent = reply["received"]
                await self.ask("leave", 30.0)
                break
        self.writer.transport.abort()


def requests(chance: Random, nth: int) -> list[Message]:
    """What a session asks, before it is mutated: light ones mostly, as each process takes a second of a processor."""
    light: list[Message] = [
        {"do": "files", "with": {"call_id": "call-1"}},
        {"do": "fetch", "with": {"name": "events.jsonl", "offset": 0, "call_id": ""}},
        {"do": "echo", "with": {"number": 7, "interface": "ew1"}},
        {"do": "transfer", "with": {"number": 8, "interface": "ew1", "sends": True}},
        {"do": "result", "with": {"number": 8}},
        {"do": "close", "with": {"number": 8}},
        {"do": "device", "with": {"number": chance.randrange(1, 5)}},
        {"do": "remove_device", "with": {"number": 2}},
        {"do": "onion", "with": {"number": 9}},
        {"do": "speech", "with": {}},
    ]
    asked: list[Message] = [{"do": "begin", "with": {"call_id": f"call-{nth}"}}]
    asked.append({"do": "device", "with": {"number": 1}})
    asked += [chance.choice(light) for _ in range(chance.randrange(1, 8))]
    if chance.random() < 0.08:
        asked.append({"do": "phone", "with": {"child": 21}})
        asked.append({"child": 21, "line": SETUP})
        for number, (do, given) in enumerate(
            (("listen", {"ring_s": 0.0, "refuse_with": 0}), ("report", {}), ("finish", {"tail_s": 0.0}))
        ):
            asked.append({"child": 21, "line": {"id": number, "do": do, "with": given}})
        asked.append({"child": 21, "line": {"id": 9, "do": "call", "with": {"uri": "sip:1@10.99.1.2", "timeout_s": 1}}})
    if chance.random() < 0.08:
        asked.append({"do": "forwarder", "with": {"child": 22, "number": 1}})
        asked.append({"child": 22, "line": FORWARDER})
        asked += [{"child": 22, "line": {"command": do, "count": 5}} for do in ("ping", "fill", "stop")]
    if chance.random() < 0.05:
        asked.append({"do": "capture", "with": {"child": 23, "interface": "ew1"}})
        asked.append({"child": 23, "close": True})
    if chance.random() < 0.01:
        asked.append({"do": "tunnel", "with": {"child": 24, "number": 3, "security": "static", "nodelay": True}})
        asked.append({"child": 24, "end": 0.5})
    return [{"id": number, **request} if "do" in request else request for number, request in enumerate(asked)]


async def hostile_session(answer: Answer, chance: Random, nth: int) -> str:
    """One visit of a hostile caller; the kind of it."""
    caller = Caller(answer)
    kind = chance.choice(("values", "values", "values", "values", "bytes", "hello", "flood", "unread", "cut"))
    try:
        if kind == "hello":
            hello = {"earwitness": 1, "session": "", "received": 0}
            await caller.connect(mutated(hello, chance) if chance.random() < 0.7 else chance.randbytes(200) + b"\n")
        else:
            await caller.connect()
        if kind == "bytes":
            caller.raw(
                chance.choice((b"[" * 60_000 + b"\n", b"x" * 300_000, chance.randbytes(5000), b'{"n":1,"bytes":9}\n'))
            )
            await caller.hear(0.02)
        asked = requests(chance, nth)
        for request in asked:
            if kind != "unread" and chance.random() < 0.4:
                request = mutated(request, chance)
            if not isinstance(request, dict) or chance.random() < 0.02:
                caller.raw(json.dumps(request).encode() + b"\n")
            else:
                caller.send(request, chance.randbytes(3000) if request.get("do") == "speech" else b"")
        if kind == "flood":
            for number in range(300):
                caller.send(
                    {"id": 1000 + number, "do": chance.choice(("files", "fetch", "result")), "with": {"number": 1}}
                )
        if kind == "unread":
            for number in range(200):
                caller.send({"id": 1000 + number, "do": "fetch", "with": {"name": "events.jsonl", "offset": 0}})
            await asyncio.sleep(0.05)
        elif kind == "cut":
            caller.writer.transport.abort()
        else:
            await caller.hear(chance.choice((0.0, 0.02, 0.1)))
    except OSError:
        pass  # it was refused, or cut off
    if caller.session:
        await caller.leave()
    else:
        caller.writer.transport.abort()
    return kind


async def good_visit(answer: Answer, call_id: str) -> bool:
    """Whether a caller of good will is served: a device, a capture, a phone that reports."""
    caller = Caller(answer)
    for _ in range(100):  # until the last one's end is known there
        reply = await caller.connect()
        if reply is not None and "session" in reply:
            break
        caller.writer.transport.abort()
        await asyncio.sleep(0.1)
    await caller.ask("begin", call_id=call_id)
    made = await caller.ask("device", number=1)
    await caller.ask("capture", child=100, interface="ew1")
    await caller.ask("phone", child=101)
    caller.send({"child": 101, "line": SETUP})
    ready = await caller.hear(30.0, lambda message: (message.get("event") or {}).get("event") == "ready")
    caller.send({"child": 101, "line": {"id": 1, "do": "report", "with": {}}})
    replied = await caller.hear(10.0, lambda message: (message.get("event") or {}).get("event") == "reply")
    await caller.ask("leave")
    caller.writer.transport.abort()
    return bool(made.get("value") and ready and replied and replied[-1]["event"]["value"]["role"] == "idle")


# -- a hostile answerer ---------------------------------------------------------------------------------------

Reply = Callable[[Message, bytes], list[tuple[Message, bytes]]]


@asynccontextmanager
async def answering_falsely(reply: Reply, introduction: Callable[[], Any]) -> AsyncIterator[tuple[int, Invitation]]:
    """A TLS server with an answering side's keys, whose introduction and replies are these functions'."""
    keys, invitation = AnswerKeys.make("")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sent = 0
        try:
            await read(reader)
            first = introduction()
            writer.write(first if isinstance(first, bytes) else encode(first))
            while True:
                message, blob = await read(reader, 30.0)
                if "n" not in message:
                    continue
                writer.write(encode({"ack": message["n"]}))
                for said, back in reply(message, blob):
                    sent += 1
                    writer.write(encode({"n": sent, **said}, back))
        except (OSError, ValueError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_context(keys), limit=1 << 23)
    try:
        yield server.sockets[0].getsockname()[1], invitation
    finally:
        server.close()


INTRODUCTION = {
    "earwitness": 1, "session": "s", "received": 0, "name": "there", "place": "", "address": "127.0.0.1",
    "interface": "lo", "epoch_offset_ns": 5, "versions": {"python": "3.11"},
}  # fmt: skip
REPORT: dict[str, Any] = {
    "uri": "sip:callee@127.0.0.1:5060", "role": "callee", "codec": "PCMU", "payload_type": 0,
    "milestones": {"invite_received": 5, "answered": 6}, "scheduling": "nice", "packets_sent": 5, "packets_received": 5,
    "sending": {"p50_ms": 0.0, "p95_ms": 0.1, "p99_ms": 0.2, "max_ms": 0.3}, "packets_lost": 0, "jitter_ms": 0.1,
    "ssrc": 7, "remote_ssrcs": [8], "no_media": False, "ended_by": "remote", "bye_status": None,
    "rtcp": {"round_trips_ms": [1.0, 2.0], "remote_fraction_lost": 0.0, "sent": 1, "received": 1},
    "sip": [{"at_ns": 5, "sent": True, "peer": "127.0.0.1:5060", "text": "INVITE x\r\n"}],
}  # fmt: skip
STATISTICS = {
    "flows": {"other": {"sent": 1, "received": 1, "dropped_queue_full": 0, "dropped_no_stream": 0}},
    "ignored": {"short frame": 1},
    "strangers": 0,
}


def honest() -> Callable[[Message], list[tuple[Message, bytes]]]:
    """What an answering side of good will says to the requests and commands of one connection, near enough."""
    opened: dict[int, str] = {}

    def said(message: Message) -> list[tuple[Message, bytes]]:
        return _said_of_child(message) if "child" in message else _said_of_request(message, opened)

    return said


def _said_of_child(message: Message) -> list[tuple[Message, bytes]]:
    child, line = message["child"], message.get("line", {})
    if message.get("close"):
        event: Any = {"event": "summary", "packets": 1, "dropped": 0, "clock_steps": [{"at_ns": 1, "by_ns": 2}]}
        return [({"child": child, "event": event}, b"")]
    if message.get("end") is not None:
        return [({"child": child, "gone": "it ended with status 0"}, b"")]
    if "address" in line:
        return [({"child": child, "event": {"event": "ready", "uri": REPORT["uri"]}}, b"")]
    if "flows" in line:
        return [
            ({"child": child, "event": {"event": "listening", "address": "127.0.0.1", "port": 4444}}, b""),
            ({"child": child, "event": {"event": "statistics", **STATISTICS}}, b""),
            ({"child": child, "event": {"event": "closed", "flow": "other", "reason": "gone"}}, b""),
        ]
    if "do" in line:
        value = REPORT if line["do"] == "report" else None
        milestone = {"event": "milestone", "name": "answered", "at_ns": 6}
        told = [milestone, {"event": "note", "text": "x"}, {"event": "reply", "id": line["id"], "value": value}]
        return [({"child": child, "event": event}, b"") for event in told]
    return []


def _said_of_request(message: Message, opened: dict[int, str]) -> list[tuple[Message, bytes]]:
    re, do, given = message["id"], message["do"], message["with"]
    values: dict[str, Any] = {
        "device": True,
        "echo": 5000,
        "transfer": 5001,
        "result": CIRCUIT if opened.get(given.get("number")) == "onion" else {"bytes": 1000, "seconds": 0.5},
        "files": {"callee.pcap": 24, "events.jsonl": 5},
        "onion": {"address": ONION, "port": 80, "publish_ms": 5.0, "uploads": ["a"], "failures": []},
        "sip_server": {"port": 5060, "passwords": {"caller": "a", "callee": "b"}},
        "tunnel": {
            "server": "127.0.0.1",
            "port": 1194,
            "config": "dev x\n",
            "keys": {"ca.crt": "c", "client.crt": "c", "client.key": "k"},
        },
    }
    if "number" in given and do != "result":
        opened[given["number"]] = do
    if do == "speech":
        failure = {"kind": "CallFailure", "outcome": "failed", "stage": "a", "on": "b", "happened": "c", "remedy": "d"}
        return [({"re": re, "failure": {**failure, "evidence": {"x": 1}}}, b"")]
    back = b"\0" * 24 if do == "fetch" and not given.get("offset") else b""
    said: list[tuple[Message, bytes]] = [({"re": re, "value": values.get(do)}, back)]
    if do in ("capture", "tunnel"):
        event = {"event": "ready"} if do == "capture" else {"event": "log", "line": "Initialization Sequence Completed"}
        said.append(({"child": given["child"], "event": event}, b""))
    return said


CIRCUIT = ["A" * 40, "B" * 40, "C" * 40]
ONION = "duckduckgogg42xjoc72x3sjasowoarfbgcmvfimaftt6twagswzczad.onion"
