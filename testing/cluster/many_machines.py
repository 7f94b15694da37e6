"""Runs in the sandbox, as a process of its own: a scheduler, two vantages and a study, each a process on a host.

`python -m testing.cluster.many_machines FOLDER` writes FOLDER/report.json; `test_many_machines.py` says what is in
it.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from earwitness.archive.dataset import Dataset
from earwitness.cluster.keys import make_cluster_keys
from earwitness.lab.lab import Lab
from earwitness.lab.plan import LabPlan
from earwitness.netns.sandbox import STATE_DIR, in_sandbox, rerun_inside
from testing.commands import EARWITNESS
from testing.remote.two_machines import command_lines

PORT = 8786
PLACES = {"caller": "Frankfurt", "callee": "New York"}
WAIT_S = 120.0

STUDY = """
version = 1
name = "spread"
network = "lab"
[[path]]
name = "direct"
path = "direct"
[[path]]
name = "tor2"
path = "tor"
hops = 2
[axes]
codec = {codecs}
places = [["Frankfurt", "New York"]]
[call]
seconds = {seconds}
tail_s = 0.5
[retry]
instrument = 1
backoff_s = 0.1
[budget]
calls_per_hour = 1000
"""


class Machines:
    """The scheduler, the vantages and the commands, by the host that each runs on."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab, self.folder = lab, folder
        self.keys = folder / "keys"
        make_cluster_keys(self.keys, ("caller", "callee"))
        self.cluster = f"tls://{lab.host('server').address}:{PORT}"
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, host: str, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        """An `earwitness` command on a host; what it says goes into NAME.log, its records into NAME.json."""
        with (self.folder / f"{name}.json").open("wb") as records, (self.folder / f"{name}.log").open("wb") as log:
            process = self.lab.host(host).popen([*EARWITNESS, *arguments], stdout=records, stderr=log)
        self._running.append(process)
        return process

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    async def said(self, process: subprocess.Popen[bytes], name: str, what: str) -> None:
        """Wait until the command has said so."""
        async with asyncio.timeout(WAIT_S):
            while what not in self.log(name):
                assert process.poll() is None, self.log(name)
                await asyncio.sleep(0.05)

    async def schedule(self) -> None:
        arguments = ("cluster", "schedule", "--keys", str(self.keys / "scheduler"))
        listen = ("--listen", f"{self.lab.host('server').address}:{PORT}")
        await self.said(self.start("server", "scheduler", *arguments, *listen), "scheduler", "scheduling at")

    def vantage(self, host: str, name: str, keys: Path | None = None, scorers: int = 1) -> subprocess.Popen[bytes]:
        arguments = ["vantage", "--at", PLACES[host], "--cluster", self.cluster, "--name", host]
        arguments += ["--keys", str(keys or self.keys / f"vantage-{host}"), "--scorers", str(scorers)]
        arguments += ["--store", str(self.folder / f"{host}.store"), "--calls-an-hour", "1000"]
        return self.start(host, name, *arguments, "--tor-control", str(self.lab.tor.client(host).control))

    def study(self, file: Path, out: Path, name: str = "study", *options: str) -> subprocess.Popen[bytes]:
        arguments = ("study", "run", str(file), "--out", str(out), "--json", "--no-report", *options)
        return self.start("server", name, *arguments, *self.joining)

    @property
    def joining(self) -> tuple[str, ...]:
        return ("--cluster", self.cluster, "--keys", str(self.keys / "client"))

    async def ended(self, process: subprocess.Popen[bytes], within_s: float = WAIT_S) -> int:
        return await asyncio.to_thread(process.wait, within_s)

    async def end(self) -> None:
        """SIGTERM to all that still run, those that came last first; the exit codes of those."""
        for process in reversed(self._running):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                await self.ended(process, 60)


def record_rows(machines: Machines, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (machines.folder / f"{name}.json").read_text().splitlines()]


def stranger(machines: Machines) -> subprocess.Popen[bytes]:
    """A vantage that knows the authority's certificate, and whose own is by another authority."""
    other = machines.keys / "other"
    make_cluster_keys(other, ("stranger",))
    shutil.copyfile(machines.keys / "client" / "ca.pem", other / "vantage-stranger" / "ca.pem")
    return machines.vantage("caller", "stranger", other / "vantage-stranger", scorers=0)


async def studied(machines: Machines, codecs: Sequence[str], seconds: float) -> dict[str, Any]:
    """A study; the caller's vantage is killed in the first call, and started again."""
    file, out = machines.folder / "study.toml", machines.folder / "data"
    file.write_text(STUDY.format(codecs=json.dumps(list(codecs)), seconds=seconds))
    caller = machines.vantage("caller", "caller", scorers=0)
    callee = machines.vantage("callee", "callee")
    strange = stranger(machines)
    await machines.said(caller, "caller", "joined")
    await machines.said(callee, "callee", "joined")
    study = machines.study(file, out)
    await machines.said(caller, "caller", "talking")
    lines = command_lines()
    caller.kill()
    await machines.ended(caller)
    again = machines.vantage("caller", "caller-again", scorers=0)
    code = await machines.ended(study, 280)
    keys = [path.read_text() for path in machines.keys.rglob("*.key")]
    # What all keys of a kind begin with is no secret.
    secrets = ["".join(key.splitlines()[1:-1])[60:100] for key in keys]
    written = (path for path in machines.folder.rglob("*") if path.is_file() and machines.keys not in path.parents)
    left = b"".join(path.read_bytes() for path in written)
    dataset = Dataset.open(out)
    return {
        "code": code,
        "log": machines.log("study"),
        "rows": record_rows(machines, "study"),
        "files": [sorted(path.name for path in call.folder.iterdir()) for call in dataset.calls()],
        "key_in_process_list": any(secret in lines for secret in secrets),
        "key_left": any(secret.encode() in left for secret in secrets) or b"PRIVATE KEY" in left,
        "again": again.poll() is None,
        "folders": [path.name for path in STATE_DIR.glob("earwitness-vantage-*")],
        "stranger": {"code": await machines.ended(strange), "log": machines.log("stranger")},
        "attempts": [(call.record.call_id, str(call.record.outcome)) for call in dataset.calls()],
    }


async def heard_again(machines: Machines) -> dict[str, Any]:
    """The same what-ifs here and on the cluster."""
    asked: dict[str, tuple[str, ...]] = {"here": (), "cluster": machines.joining}
    buffers = ("--buffer", "fixed:60", "--buffer", "adaptive")
    data = str(machines.folder / "data")
    started = {
        name: machines.start(
            "server", f"whatif-{name}", "whatif", data, "--out", str(machines.folder / name), *buffers, *joining
        )
        for name, joining in asked.items()
    }
    results = {}
    for name, process in started.items():
        code, out = await machines.ended(process), machines.folder / name
        results[name] = {
            "code": code,
            "log": machines.log(f"whatif-{name}"),
            "files": {
                path.name: path.read_bytes().hex() for kind in ("csv", "parquet") for path in out.glob(f"*.{kind}")
            },
            "records": len((out / "journal.jsonl").read_text().splitlines()) if code == 0 else 0,
        }
    return results


def reporting(scene: Callable[[Machines], Awaitable[dict[str, Any]]]) -> None:
    """Be a script: in a sandbox, with a lab and a scheduler, write what the scene tells into FOLDER/report.json."""
    if not in_sandbox():
        raise SystemExit(rerun_inside())
    os.environ["COLUMNS"] = "200"
    folder = Path(sys.argv[1])
    os.environ["XDG_STATE_HOME"] = str(folder / "state")

    async def main() -> dict[str, Any]:
        async with Lab.started(LabPlan(seed=4)) as lab:
            machines = Machines(lab, folder)
            try:
                await machines.schedule()
                return await scene(machines)
            finally:
                await machines.end()

    (folder / "report.json").write_text(json.dumps(asyncio.run(main())))


async def scene(machines: Machines) -> dict[str, Any]:
    return {
        "studied": await studied(machines, ("g711u",), 4.0),
        "heard_again": await heard_again(machines),
    }


if __name__ == "__main__":
    reporting(scene)
