"""Runs in the sandbox, as a process of its own: one private Tor network, several paths, one JSON report.

`python -m testing.path.inside_lab FOLDER` writes FOLDER/report.json; `test_tor_path.py` says what should have.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from unittest import mock

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from earwitness.archive.codec import to_plain
from earwitness.errors import CallFailure
from earwitness.lab.lab import Lab
from earwitness.lab.plan import LabPlan
from earwitness.netns.host import Host
from earwitness.netns.sandbox import in_sandbox, rerun_inside
from earwitness.path import vpn as vpn_module
from earwitness.path import vpn_files as vpn_files_module
from earwitness.path.base import OpenPath, PathEndpoint, PhonePorts
from earwitness.path.direct import DirectPath
from earwitness.path.facts import ThroughputFacts
from earwitness.path.local_callee import LocalCallee
from earwitness.path.onion import OnionPath
from earwitness.path.tcp import TcpPath
from earwitness.path.tor import TorPath
from earwitness.path.vpn import VpnPath, vpn_tor_path
from earwitness.path.vpn_config import Security, key_files
from earwitness.tor import onion as onion_module
from earwitness.tor.control import TorControl
from earwitness.tor.control_address import ControlAddress
from earwitness.tor.nodelay import set_nodelay
from earwitness.tor.onion import OnionService
from earwitness.tor.select import CircuitRequest

DATAGRAMS = 500
PROBES = 10  # of links that are known: the least of ten says what they are
INTERVAL_S = 0.020
PORTS = PhonePorts()


def udp(end: PathEndpoint, port: int) -> socket.socket:
    with end.host.inside():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((end.address, port))
    sock.setblocking(False)
    return sock


def payload(number: int) -> bytes:
    """Sizes from 4 to 1,203 bytes, contents that tell one from the other."""
    return number.to_bytes(4, "big") + bytes((number * 7 + i) % 256 for i in range(number * 37 % 1200))


def receive(sock: socket.socket, into: list[tuple[bytes, Any]]) -> None:
    into.append(sock.recvfrom(4096))


async def exchange(path: OpenPath, count: int, caller_port: int, callee_port: int) -> dict[str, Any]:
    """`count` datagrams each way, on the grid; which arrived, in which order, and from where."""
    caller, callee = udp(path.caller, caller_port), udp(path.callee, callee_port)
    got: dict[str, list[tuple[bytes, Any]]] = {"to_caller": [], "to_callee": []}
    loop = asyncio.get_running_loop()
    for name, sock in (("to_caller", caller), ("to_callee", callee)):
        loop.add_reader(sock, receive, sock, got[name])
    begun = loop.time()
    for number in range(count):
        caller.sendto(payload(number), (path.callee.address, callee_port))
        callee.sendto(payload(number), (path.caller.address, caller_port))
        await asyncio.sleep(max(0.0, begun + (number + 1) * INTERVAL_S - loop.time()))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(10):
            while any(len(those) < count for those in got.values()):
                await asyncio.sleep(0.05)
    for sock in (caller, callee):
        loop.remove_reader(sock)
        sock.close()
    return {
        name: {
            "arrived": len(those),
            "as_sent": [data for data, _ in those] == [payload(number) for number in range(count)],
            "from": sorted({tuple(address) for _, address in those}),
        }
        for name, those in got.items()
    }


async def tors_view(control: TorControl, circuit_id: str) -> dict[str, Any]:
    """What tor itself says of a circuit and of the streams on it."""
    circuits = [line.split() for line in (await control.info("circuit-status")).splitlines()]
    streams = [line.split() for line in (await control.info("stream-status")).splitlines()]
    relays = next((fields[2] for fields in circuits if fields[0] == circuit_id and fields[1] == "BUILT"), "")
    return {
        "relays": [part.lstrip("$").partition("~")[0] for part in relays.split(",") if part],
        "streams": sorted(fields[0] for fields in streams if fields[2] == circuit_id and fields[1] == "SUCCEEDED"),
        "leave_unattached": await control.configuration("__LeaveStreamsUnattached"),
    }


def ends(lab: Lab) -> tuple[Host, LocalCallee]:
    return lab.host("caller"), LocalCallee(lab.host("callee"))


async def two_at_once(lab: Lab) -> dict[str, Any]:
    """A circuit of two hops by city, and one of three by nickname, fingerprint and country, both in use at once."""
    middle = lab.tor.relay("relay2")
    wishes = {
        "two": CircuitRequest(hops=2, guard="Frankfurt", exit="new york"),
        "three": CircuitRequest(hops=3, guard="relay4", middle=f"${middle.fingerprint}", exit="Canada"),
    }
    report: dict[str, Any] = {"fingerprints": {relay.nickname: relay.fingerprint for relay in lab.tor.relays}}
    async with contextlib.AsyncExitStack() as stack:
        control = await stack.enter_async_context(TorControl.connect(lab.tor.client("caller").control))
        others = asyncio.ensure_future(somebody_elses_stream(lab))
        opening = {
            name: stack.enter_async_context(TorPath(wish, lab.tor).open(*ends(lab), PORTS))
            for name, wish in wishes.items()
        }
        paths = dict(zip(opening, await asyncio.gather(*opening.values()), strict=True))
        report["somebody_elses"] = await others
        exchanged = await asyncio.gather(*(exchange(path, DATAGRAMS, 4000, 4000) for path in paths.values()))
        for (name, path), result in zip(paths.items(), exchanged, strict=True):
            report[name] = {
                "hops": [hop.nickname for hop in path.circuit.relays],
                "exchanged": result,
                "unknown_ports": await exchange(path, 20, 5555, 6666),
                "tor": await tors_view(control, path.circuit.id),
                "failure": path.failure(),
                "stranger": await stranger(lab, path),
            }
        ids = [path.circuit.id for path in paths.values()]
    for name, path in paths.items():
        report[name]["details"] = to_plain(path.final_facts())
    async with TorControl.connect(lab.tor.client("caller").control) as control:
        report["afterwards"] = [await tors_view(control, circuit_id) for circuit_id in ids]
    for host in ("caller", "callee"):
        with lab.host(host).inside():
            report[f"devices_at_{host}"] = [name for _, name in socket.if_nameindex()]
    return report


async def somebody_elses_stream(lab: Lab) -> int:
    """The SOCKS reply to a stream that is not ours, asked for while a call opens: tor must handle it as ever."""
    await asyncio.sleep(0.3)
    host, port = lab.tor.client("caller").socks
    with lab.host("server").inside():
        server = socket.create_server((lab.host("server").address, 8080))
    with lab.host("caller").inside():
        sock = socket.socket()
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(30):
        await loop.sock_connect(sock, (host, port))
        await loop.sock_sendall(sock, b"\x05\x01\x00")
        await loop.sock_recv(sock, 2)
        target = socket.inet_aton(lab.host("server").address) + (8080).to_bytes(2, "big")
        await loop.sock_sendall(sock, b"\x05\x01\x00\x01" + target)
        reply = await loop.sock_recv(sock, 10)
    sock.close()
    server.close()
    return reply[1]


async def stranger(lab: Lab, path: Any) -> dict[str, Any]:
    """Someone without the token connects to the callee's end."""
    with lab.host("relay1").inside():
        sock = socket.socket()
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    greeting = json.dumps({"earwitness": 1, "token": "0" * 32, "flow": "rtp"}).encode()
    async with asyncio.timeout(10):
        await loop.sock_connect(sock, path.ends.listener)
        await loop.sock_sendall(sock, len(greeting).to_bytes(2, "big") + greeting)
        answer = await loop.sock_recv(sock, 100)
    sock.close()
    return {"answer": answer.hex(), "still_fine": path.failure() is None}


async def outcome_of_opening(lab: Lab, request: CircuitRequest) -> dict[str, Any]:
    try:
        async with TorPath(request, lab.tor).open(*ends(lab), PORTS):
            return {"outcome": "opened"}
    except CallFailure as failure:
        return {"outcome": str(failure.outcome), "line": str(failure), "evidence": failure.evidence}


async def failure_after(path: OpenPath, act: Any, timeout_s: float = 30.0) -> dict[str, Any]:
    before = path.failure()
    act()
    begun = time.monotonic()
    while path.failure() is None and time.monotonic() - begun < timeout_s:
        await asyncio.sleep(0.01)
    after_s = time.monotonic() - begun
    reason = await path.cause()
    return {"before": before, "reason": reason, "after_s": after_s, "told_s": time.monotonic() - begun}


async def kept_circuit(lab: Lab) -> list[dict[str, Any]]:
    path = TorPath(CircuitRequest(hops=2, guard="relay4", exit="relay8"), lab.tor, keep_circuit=True)
    seen = []
    for _ in range(2):
        async with path.open(*ends(lab), PORTS) as opened:
            seen.append({"circuit": opened.circuit.id, "kept": opened.facts.circuit_kept})
    return seen


async def onion(lab: Lab) -> dict[str, Any]:
    async with OnionPath(lab.tor).open(*ends(lab), PORTS) as path:
        report = {
            "exchanged": await exchange(path, 100, 4000, 4000),
            "hops": [hop.nickname for hop in path.circuit.relays],
            "failure": path.failure(),
        }
    return {**report, "details": to_plain(path.final_facts())}


async def nodelay(lab: Lab) -> dict[str, Any]:
    """How many connections of the circuit's relays and the clients are not as the path says, while it is open."""
    wish, pids = CircuitRequest(hops=2, guard="relay4", exit="relay8"), lab.tor.pids
    report: dict[str, Any] = {}
    for on in (True, False):
        path = TorPath(wish, lab.tor, nodelay=on)
        async with path.open(*ends(lab), PORTS) as opened:
            # Relays may connect to each other at any moment; those of this circuit have what they need.
            names = ("relay4", "relay8", "caller", "callee")
            report[str(on)] = sum(set_nodelay(pids[name], on) for name in names)
            report[f"{on}_recorded"] = opened.facts.relay_nodelay
    return report


async def vpn(lab: Lab) -> dict[str, Any]:
    """The tunnel straight and over a circuit, in each security, and what is left of its keys while it is open."""
    report: dict[str, Any] = {}
    scratch = lab.state_dir / "calls"
    request = CircuitRequest(hops=2, guard="relay4", exit="relay8")
    for name, path in (
        ("none", VpnPath(scratch, security=Security.NONE, nodelay=False)),
        ("static", VpnPath(scratch, security=Security.STATIC)),
        ("tls", VpnPath(scratch)),
        ("tor", vpn_tor_path(request, lab.tor, scratch, nodelay=True)),
    ):
        async with path.open(*ends(lab), PORTS) as opened:
            assert opened.caller_vpn is not None
            report[name] = {
                "details": to_plain(opened.facts),
                "files": opened.files,
                "notes": opened.notes,
                "hops": [hop.nickname for hop in opened.circuit.relays],
                "exchanged": await exchange(opened, 50, 4000, 4000),
                "left_on_disk": [str(file) for file in scratch.rglob("*")],
                "command_lines": command_lines(opened.caller_vpn.pid),
                "failure": opened.failure(),
            }
            if name == "tor":
                async with TorControl.connect(lab.tor.client("caller").control) as control:
                    report[name]["tor"] = await tors_view(control, opened.circuit.id)
                report[name]["fingerprints"] = [hop.fingerprint for hop in opened.circuit.relays]
            if name in ("tor", "tls"):
                report[name]["measured"] = await measured(opened)
            if name == "tls":
                report["killed"] = await failure_after(opened, opened.faults["kill-tunnel"])
            if name == "tor":
                report["torn_down"] = await failure_after(opened, opened.faults["close-circuit"])
    return report


def command_lines(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


async def measured(path: OpenPath, probes: int = 3) -> dict[str, Any]:
    rtt = await path.round_trips(probes)
    fill = {direction: await path.throughput(direction) for direction in ("to_callee", "to_caller")}
    return {
        "rtt": to_plain(rtt),
        **{direction: carried and to_plain(ThroughputFacts.of(carried)) for direction, carried in fill.items()},
    }


async def probes(lab: Lab) -> dict[str, Any]:
    """Of a path whose links are known: 2 Mbit/s towards the caller, unlimited the other way."""
    caller, callee = ends(lab)
    one_way_ms = lab.link("caller", "callee").delay_ms
    before = lab.link("callee", "caller")
    lab.set_link("callee", "caller", before.with_spec("rate=2"))
    report: dict[str, Any] = {"link_rtt_ms": 2 * one_way_ms}
    try:
        for path in (DirectPath(), TcpPath()):
            async with path.open(caller, callee, PORTS) as opened:
                report[path.name] = await measured(opened, PROBES)
    finally:
        lab.set_link("callee", "caller", before)
    return report


async def tunnel_faults(lab: Lab) -> dict[str, Any]:
    """Tunnels that do not come up, and proxies that are not there."""
    scratch = lab.state_dir / "calls"
    report: dict[str, Any] = {}
    made = key_files

    def of_two_authorities(*arguments: Any) -> dict[str, Any]:
        mine, other = made(*arguments), made(*arguments)
        return {**mine, "server.crt": other["server.crt"], "server.key": other["server.key"]}

    with mock.patch.object(vpn_files_module, "key_files", of_two_authorities):
        report["wrong_certificate"] = await outcome_of(VpnPath(scratch), lab)
    before = lab.link("caller", "callee")
    lab.set_link("caller", "callee", before.with_spec("loss=1"))
    try:
        with mock.patch.object(vpn_module, "UP_TIMEOUT_S", 2.0):
            report["never_up"] = await outcome_of(VpnPath(scratch), lab)
    finally:
        lab.set_link("caller", "callee", before)
    client = dataclasses.replace(lab.tor.client("caller"), socks=("127.0.0.1", 9))
    no_socks = dataclasses.replace(lab.tor, clients={**lab.tor.clients, "caller": client})
    request = CircuitRequest(hops=2)
    report["no_socks"] = await outcome_of(vpn_tor_path(request, no_socks, scratch), lab)
    report["no_socks_tor"] = await outcome_of(TorPath(request, no_socks), lab)
    nowhere = dataclasses.replace(client, control=ControlAddress(path=Path("/run/nobody/control")))
    no_tor = dataclasses.replace(lab.tor, clients={**lab.tor.clients, "caller": nowhere})
    report["no_tor"] = await outcome_of(vpn_tor_path(request, no_tor, scratch), lab)
    with mock.patch.object(shutil, "which", return_value=None):
        report["no_openvpn"] = await outcome_of(VpnPath(scratch), lab)
    report["left_on_disk"] = [str(file) for file in scratch.rglob("*")]
    return report


async def outcome_of(path: Any, lab: Lab) -> dict[str, Any]:
    try:
        async with path.open(*ends(lab), PORTS):
            return {"outcome": "opened"}
    except CallFailure as failure:
        return {"outcome": str(failure.outcome), "line": str(failure), "evidence": failure.evidence}


async def onion_nobody_offers(lab: Lab) -> dict[str, Any]:
    """The caller is told of a service whose descriptor was never published."""

    @contextlib.asynccontextmanager
    async def unpublished(*_arguments: Any, **_options: Any) -> AsyncIterator[OnionService]:
        key = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
        checksum = hashlib.sha3_256(b".onion checksum" + key + b"\x03").digest()[:2]
        yield OnionService(base64.b32encode(key + checksum + b"\x03").decode().lower() + ".onion", 80)

    with mock.patch.object(onion_module, "onion_service", unpublished):
        return await outcome_of(OnionPath(lab.tor), lab)


async def single_onion(lab: Lab) -> dict[str, Any]:
    path = OnionPath(lab.tor, lab.state_dir / "calls", single=True)
    async with path.open(*ends(lab), PORTS) as opened:
        return {
            "exchanged": await exchange(opened, 50, 4000, 4000),
            "hops": [hop.nickname for hop in opened.circuit.relays],
            "measured": await measured(opened),
            "notes": opened.notes,
        }


async def deaths(lab: Lab) -> dict[str, Any]:
    """Parts of a path that die under the call."""
    report: dict[str, Any] = {}
    async with TcpPath().open(*ends(lab), PORTS) as path:
        report["tcp"] = await exchange(path, 50, 4000, 4000)
        assert path.ends is not None
        forwarder = path.ends.callee.pid
        report["forwarder"] = await failure_after(path, lambda: os.kill(forwarder, signal.SIGKILL))
    assert lab.private_tor is not None
    tor = lab.private_tor
    request = CircuitRequest(guard="relay4", middle="relay5", exit="relay3")
    async with TorPath(request, lab.tor).open(*ends(lab), PORTS) as path:
        report["relay"] = await failure_after(path, tor.process("relay5").kill)
    report["through_the_dead"] = await outcome_of_opening(lab, request)
    return report


async def main() -> None:
    async with Lab.started(LabPlan(refusing_exits=("relay6",))) as lab:
        assert lab.private_tor is not None
        report = {
            "boot_s": lab.private_tor.boot_s,
            "flags": {relay.nickname: sorted(relay.flags) for relay in lab.tor.relays},
            "two_at_once": await two_at_once(lab),
            "refused": await outcome_of_opening(lab, CircuitRequest(exit="relay6")),
            "kept": await kept_circuit(lab),
            "onion": await onion(lab),
            "nodelay": await nodelay(lab),
            "vpn": await vpn(lab),
            "probes": await probes(lab),
            "tunnel_faults": await tunnel_faults(lab),
            "single_onion": await single_onion(lab),
            "onion_nobody_offers": await onion_nobody_offers(lab),
            "deaths": await deaths(lab),
        }
    (Path(sys.argv[1]) / "report.json").write_text(json.dumps(report))


if __name__ == "__main__":
    if not in_sandbox():
        raise SystemExit(rerun_inside())
    asyncio.run(main())
