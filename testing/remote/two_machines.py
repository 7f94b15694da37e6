"""Runs in the sandbox, as a process of its own: a lab without Tor, `answer` on one host, `call` on another.

`python -m testing.remote.two_machines FOLDER` writes FOLDER/report.json; `test_two_machines.py` says what it should be.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from earwitness.archive.codec import to_plain
from earwitness.archive.dataset import Dataset
from earwitness.lab.lab import Lab
from earwitness.lab.plan import LabPlan
from earwitness.netns.sandbox import in_sandbox, rerun_inside
from earwitness.remote.certificates import Invitation, make_identity
from testing.commands import EARWITNESS

CLOCK_OFFSET_MS = 1234.5
SECONDS = 6.0
PACKETS = round(SECONDS * 50)


class Proxy:
    """Carries the control channel, until it is cut; then refuses nobody and answers nobody, until it is mended."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.cuts = 0
        self.port = 0
        self._cut = False
        self._writers: list[asyncio.StreamWriter] = []

    async def start(self, address: str, lab: Lab) -> None:
        import socket

        with lab.host("callee").inside():
            listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.bind((address, 0))
        self.lab, self.port = lab, listener.getsockname()[1]
        await asyncio.start_server(self._carry, sock=listener)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        import socket

        if self._cut:
            writer.transport.abort()
            return
        with self.lab.host("callee").inside():
            onward = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        onward.connect(self.target)
        there, there_writer = await asyncio.open_connection(sock=onward)
        self._writers += [writer, there_writer]

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                sink.write(data)
            sink.close()

        await asyncio.gather(pump(reader, there_writer), pump(there, writer), return_exceptions=True)

    async def cut_for(self, seconds: float) -> None:
        self._cut = True
        self.cuts += 1
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()
        await asyncio.sleep(seconds)
        self._cut = False


@asynccontextmanager
async def answering(
    lab: Lab, folder: Path, name: str, *options: str, port: int = 7717
) -> AsyncIterator[tuple[subprocess.Popen[bytes], Path, Path]]:
    """`answer` on the callee's host: its process, invitation, store."""
    invitation, store = folder / f"{name}.invitation.json", folder / f"{name}.store"
    callee = lab.host("callee")
    argv = [*EARWITNESS, "answer", "--listen", f"{callee.address}:{port}", "--place", "New York", "--name", "there"]
    argv += [
        "--invitation",
        str(invitation),
        "--store",
        str(store),
        "--clock-offset-ms",
        str(CLOCK_OFFSET_MS),
        *options,
    ]
    with (folder / f"{name}.answer.log").open("wb") as log:
        process = callee.popen(argv, stdout=log, stderr=log)
        while not invitation.exists() or "answering at" not in (folder / f"{name}.answer.log").read_text():
            assert process.poll() is None, (folder / f"{name}.answer.log").read_text()
            await asyncio.sleep(0.05)
        try:
            yield process, invitation, store
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(process.wait, 60)


class Calling:
    """`call` on the caller's host, to the callee's, or to itself where there is no invitation."""

    def __init__(
        self,
        lab: Lab,
        folder: Path,
        name: str,
        invitation: Path | None,
        port: int = 7717,
        options: Sequence[str] = ("--path", "direct"),
        seconds: float = SECONDS,
        state: str = "",
    ) -> None:
        self.out, self.log = folder / f"{name}.data", folder / f"{name}.call.log"
        to = f"{lab.host('callee').address}:{port}"
        argv = [*EARWITNESS, "call", *options]
        argv += ["--to", to, "--invitation", str(invitation)] if invitation else []
        argv += ["--seconds", str(seconds), "--out", str(self.out), "--json"]
        # A state folder of its own, unless told: politeness would let no call begin beside another.
        environment = {**os.environ, "XDG_STATE_HOME": str(folder / (state or f"{name}.state"))}
        with (folder / f"{name}.json").open("wb") as records, self.log.open("wb") as log:
            self.process = lab.host("caller").popen(argv, stdout=records, stderr=log, env=environment)
        self.records = folder / f"{name}.json"

    async def talking(self, seconds: float) -> None:
        """Wait until it talks, and so long more."""
        while "talking" not in self.log.read_text():
            assert self.process.poll() is None, self.log.read_text()
            await asyncio.sleep(0.05)
        await asyncio.sleep(seconds)

    async def result(self) -> dict[str, Any]:
        code = await asyncio.to_thread(self.process.wait, 240)
        call = next(iter(Dataset.open(self.out).calls()))
        rows = [json.loads(line) for line in self.records.read_text().splitlines() if line.startswith("{")]
        clocks = {name: vars(clock) for name, clock in call.record.clocks.items()}
        return {
            "code": code,
            "log": self.log.read_text(),
            "call_id": call.record.call_id,
            "rows": rows,
            "clocks": clocks,
            "milestones": dict(call.record.milestones),
            "files": sorted(path.name for path in call.folder.iterdir()),
            "stage": call.record.stage,
            "detail": call.record.outcome_detail,
            "path_details": to_plain(call.record.path_details),
            "notes": list(call.record.notes),
        }


def truth(lab: Lab, since_ns: int) -> dict[str, float]:
    """Median delay of RTP packets by direction, ms, as the emulator made it."""
    found = {}
    for direction, source in (("to_callee", "caller"), ("to_caller", "callee")):
        log = lab.truth(source, since_ns=since_ns)
        log = log[log["rtp_sequence"].notna() & (log["fate"] == "delivered")]
        found[direction] = float(((log["out_ns"] - log["in_ns"]) / 1e6).median())
    return found


def command_lines() -> str:
    """Every command line of every process there is."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return "\n".join(found)


async def whole(lab: Lab, folder: Path) -> dict[str, Any]:
    async with answering(lab, folder, "whole") as (process, invitation, store):
        mode = oct(invitation.stat().st_mode & 0o777)
        secret = "".join(Invitation.read(invitation).client_key.splitlines()[1:-1])
        since = time.monotonic_ns()
        calling = Calling(lab, folder, "whole", invitation, options=("--path", "direct", "--throughput"))
        await calling.talking(1.0)
        lines = command_lines()
        result = await calling.result()
        kept = {path.name: [file.name for file in path.iterdir()] for path in store.iterdir()}
    left = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    return {
        **result,
        "truth": truth(lab, since),
        "invitation_mode": mode,
        "invitation_left": invitation.exists(),
        "kept": kept,
        "key_in_process_list": secret[:40] in lines,
        "key_left": secret[:40].encode() in left or b"PRIVATE KEY" in left,
        "answer_code": process.returncode,
    }


async def cut(lab: Lab, folder: Path) -> dict[str, Any]:
    async with answering(lab, folder, "cut") as (_, invitation, _store):
        callee = lab.host("callee")
        proxy = Proxy((callee.address, 7717))
        await proxy.start(callee.address, lab)
        calling = Calling(lab, folder, "cut", invitation, proxy.port)
        await calling.talking(1.0)
        await proxy.cut_for(2.0)
        await asyncio.sleep(1.0)
        await proxy.cut_for(4.5)  # past the end of the call, when its results are to be fetched
        return {**await calling.result(), "cuts": proxy.cuts}


async def killed(lab: Lab, folder: Path) -> dict[str, Any]:
    async with answering(lab, folder, "killed") as (process, invitation, store):
        calling = Calling(lab, folder, "killed", invitation)
        await calling.talking(2.0)
        process.kill()
        result = await calling.result()
    kept = {file.name: file.stat().st_size for path in store.iterdir() for file in path.iterdir()}
    left = [line for line in command_lines().splitlines() if "killed.store" in line]
    return {**result, "kept": kept, "left": left}


async def caller_killed(lab: Lab, folder: Path) -> dict[str, Any]:
    """The caller dies in mid-call and never comes back; what the callee measured is fetched afterwards."""
    async with answering(lab, folder, "alone", "--patience", "2") as (_, invitation, store):
        calling = Calling(lab, folder, "alone", invitation)
        await calling.talking(2.0)
        calling.process.kill()
        log = folder / "alone.answer.log"
        async with asyncio.timeout(40):
            while "is kept" not in log.read_text():
                await asyncio.sleep(0.1)
        call_id = next(store.iterdir()).name
        to = f"{lab.host('callee').address}:7717"
        argv = [*EARWITNESS, "fetch", call_id, "--to", to, "--invitation", str(invitation), "--out"]
        fetching = lab.host("caller").popen([*argv, str(folder / "fetched"), "--json"], stdout=subprocess.DEVNULL)
        code = await asyncio.to_thread(fetching.wait, 30)
        kept = {path.name: path.stat().st_size for path in (store / call_id).iterdir()}
    events = [json.loads(line) for line in (folder / "fetched" / "events.jsonl").read_text().splitlines()]
    return {
        "code": code,
        "kept": kept,
        "fetched": {path.name: path.stat().st_size for path in (folder / "fetched").iterdir()},
        "summary": next(event for event in events if event.get("event") == "summary"),
        "report": next(event["value"] for event in events if event["event"] == "report"),
    }


async def strange_caller(lab: Lab, folder: Path) -> dict[str, Any]:
    async with answering(lab, folder, "strange") as (_, invitation, store):
        good, other = Invitation.read(invitation), make_identity("somebody else")
        forged = folder / "forged.json"
        Invitation(good.address, good.server_certificate, other.certificate, other.key).write(forged)
        result = await Calling(lab, folder, "strange", forged).result()
        forged.unlink()
        return {**result, "kept": store.exists()}


SCENES = (whole, cut, killed, caller_killed, strange_caller)


async def main() -> None:
    folder = Path(sys.argv[1])
    async with Lab.started(LabPlan(with_tor=False, seed=4)) as lab:
        report = {scene.__name__: await scene(lab, folder) for scene in SCENES}
    (folder / "report.json").write_text(json.dumps(report))


if __name__ == "__main__":
    if not in_sandbox():
        raise SystemExit(rerun_inside())
    os.environ["COLUMNS"] = "200"
    asyncio.run(main())
