"""Scenes over two hosts of a private Tor network: the paths, phones and servers that `answer` opens at the callee.

Part of `public_tor.py`, which boots the network; `test_public_tor.py` says what should be in the report.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from earwitness.lab.lab import Lab
from testing.remote.two_machines import Calling, answering, command_lines

SHORT_S = 4.0


def secrets_on_disk() -> list[str]:
    """Names of files in which a tunnel's or a SIP server's secrets could be, wherever those are made."""
    from earwitness.netns.sandbox import STATE_DIR

    folders = [found for prefix in ("vpn-", "sip-", "linphone-") for found in STATE_DIR.glob(f"{prefix}*")]
    return [path.name for folder in folders for path in folder.rglob("*")]


def openvpns_of(*parents: subprocess.Popen[bytes]) -> list[int]:
    """Process ids of the OpenVPNs that these processes started; other scenes have theirs at the same time."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, fields = path.read_text().partition("(")[2].rpartition(")")
        except OSError:
            continue
        if name == "openvpn" and int(fields.split()[1]) in [parent.pid for parent in parents]:
            found.append(int(path.parent.name))
    return found


def gone(pid: int) -> bool:
    """Whether no such process runs any more."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


async def vpn(lab: Lab, folder: Path) -> dict[str, Any]:
    """A tunnel with a static key; linphone at both ends, through the SIP server and media relay at the callee."""
    options = ("--path", "vpn", "--security", "static", "--no-tunnel-nodelay", "--throughput", "--phone", "linphone",
               "--sip-server", "lab", "--sip-relay")  # fmt: skip
    async with answering(lab, folder, "vpn", "--media-port", "8444", port=7718) as (process, invitation, store):
        calling = Calling(lab, folder, "vpn", invitation, 7718, options, SHORT_S)
        await calling.talking(0.5)
        seen = {"on_disk": secrets_on_disk(), "openvpns": len(openvpns_of(process))}
        result = await calling.result()
        kept = (store / result["call_id"] / "events.jsonl").read_text()
    return {**result, **seen, "kept": kept, "tunnels": tunnels(lab), "left": secrets_on_disk()}


def tunnels(lab: Lab) -> list[str]:
    """Devices of OpenVPN that are still there, at both ends."""
    found = []
    for name in ("caller", "callee"):
        with lab.host(name).inside():
            found += [device for _, device in socket.if_nameindex() if device.startswith("ewvpn")]
    return found


def over_tor(lab: Lab, path: str) -> tuple[str, ...]:
    return ("--network", "public", "--path", path, "--tor-control", str(lab.tor.client("caller").control))


async def vpn_tor(lab: Lab, folder: Path) -> dict[str, Any]:
    """A tunnel over a circuit; the callee's address and port are told by its owner."""
    reached = lab.host("callee").address
    options = ("--reached-at", reached, "--media-port", "8445")
    async with answering(lab, folder, "vpn_tor", *options, port=7719) as (_, invitation, _store):
        call = (*over_tor(lab, "vpn-tor"), "--hops", "2", "--throughput")
        return await Calling(lab, folder, "vpn_tor", invitation, 7719, call, SHORT_S).result()


async def onion(lab: Lab, folder: Path) -> dict[str, Any]:
    """An onion service of the callee's tor; the caller's is another."""
    control = str(lab.tor.client("callee").control)
    async with answering(lab, folder, "onion", "--tor-control", control, port=7720) as (_, invitation, _store):
        call = (*over_tor(lab, "onion"), "--throughput")
        return await Calling(lab, folder, "onion", invitation, 7720, call, SHORT_S).result()


async def no_tor_there(lab: Lab, folder: Path) -> dict[str, Any]:
    async with answering(lab, folder, "no_tor", "--tor-control", "unix:/nowhere", port=7721) as (_, invitation, _store):
        return await Calling(lab, folder, "no_tor", invitation, 7721, over_tor(lab, "onion"), SHORT_S).result()


async def tunnel_dies(lab: Lab, folder: Path) -> dict[str, Any]:
    """The callee's OpenVPN is killed in mid-call; then, in a second call, the whole `answer` is."""
    async with answering(lab, folder, "dies", port=7722) as (process, invitation, _store):
        calling = Calling(lab, folder, "tunnel", invitation, 7722, ("--path", "vpn"), SHORT_S)
        await calling.talking(1.0)
        (server,) = openvpns_of(process)
        os.kill(server, signal.SIGKILL)
        report: dict[str, Any] = {"tunnel": await calling.result()}
        calling = Calling(lab, folder, "answer", invitation, 7722, ("--path", "vpn"), SHORT_S)
        await calling.talking(1.0)
        running = openvpns_of(process, calling.process)
        process.kill()
        report["answer"] = await calling.result()
        report["running"], report["left"] = len(running), [pid for pid in running if not gone(pid)]
    return report


@asynccontextmanager
async def system_tor(lab: Lab, folder: Path) -> AsyncIterator[str]:
    """A tor on the caller's host as a machine has one: its control port over TCP, its files outside the lab's."""
    client = lab.tor.client("caller")
    assert client.control.path is not None
    original, data = client.control.path.parent, folder / "system_tor"
    data.mkdir(mode=0o700)
    for cached in original.glob("cached-*"):
        shutil.copyfile(cached, data / cached.name)
    own = ("DataDirectory", "Nickname", "Log", "ControlSocket", "SocksPort")
    kept = [line for line in (original / "torrc").read_text().splitlines() if not line.startswith(own)]
    log = data / "log"
    kept += [f"DataDirectory {data}", f"Log notice file {log}", "ControlPort 9051", "SocksPort 9060"]
    (data / "torrc").write_text("\n".join(kept) + "\n")
    process = lab.host("caller").popen(["tor", "-f", str(data / "torrc")], stdout=subprocess.DEVNULL)
    try:
        async with asyncio.timeout(90):
            while not log.exists() or "Bootstrapped 100%" not in log.read_text():
                assert process.poll() is None
                await asyncio.sleep(0.1)
        yield "127.0.0.1:9051"
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, 30)


async def same_machine(lab: Lab, folder: Path) -> dict[str, Any]:
    """Both ends on one machine, by the tor that runs there: an onion service, a circuit, a tunnel over one."""
    caller = lab.host("caller")
    report: dict[str, Any] = {}
    async with system_tor(lab, folder) as control:
        for path, options in (
            ("onion", ()),
            ("tor", ("--reached-at", caller.address, "--media-port", "8446", "--hops", "2")),
            ("vpn-tor", ("--reached-at", caller.address, "--hops", "2")),
        ):
            call = ("--network", "public", "--path", path, "--tor-control", control, *options)
            report[path] = await Calling(lab, folder, f"same_{path}", None, 0, call, SHORT_S).result()
    with caller.inside():
        report["devices"] = [device for _, device in socket.if_nameindex()]
    report["left"] = [line for line in command_lines().splitlines() if "earwitness.remote.loopback_answerer" in line]
    return report


async def scenes(lab: Lab, folder: Path) -> dict[str, Any]:
    """Two lanes, as there are two cores; in each, one after the other."""
    report: dict[str, Any] = {}

    async def lane(*those: Callable[[Lab, Path], Awaitable[dict[str, Any]]]) -> None:
        for scene in those:
            report[scene.__name__] = await scene(lab, folder)

    await asyncio.gather(lane(vpn, vpn_tor, tunnel_dies), lane(no_tor_there, onion, same_machine))
    return report
