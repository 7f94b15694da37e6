"""Runs in the sandbox, as a process of its own: one private Tor network, several paths, one JSON report.

`python tests/path/inside_lab.py FILE` writes what happened; `test_tor_path.py` says what should have.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from earwitness.errors import CallFailure
from earwitness.lab.lab import Lab
from earwitness.lab.plan import LabPlan
from earwitness.lab.sandbox import in_sandbox, rerun_inside
from earwitness.path.base import End, OpenPath, PhonePorts
from earwitness.path.onion import OnionPath
from earwitness.path.tcp import TcpPath
from earwitness.path.tor import TorPath
from earwitness.tor.control import TorControl
from earwitness.tor.nodelay import set_nodelay
from earwitness.tor.select import CircuitRequest

DATAGRAMS = 500
INTERVAL_S = 0.020
PORTS = PhonePorts()


def udp(end: End, port: int) -> socket.socket:
    with end.host.inside():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((end.address, port))
    sock.setblocking(False)
    return sock


def payload(number: int) -> bytes:
    """Sizes from 4 to 1,203 bytes, contents that tell one from the other."""
    return number.to_bytes(4, "big") + bytes((number * 7 + i) % 256 for i in range(number * 37 % 1200))


async def exchange(path: OpenPath, count: int, caller_port: int, callee_port: int) -> dict[str, Any]:
    """`count` datagrams each way, on the grid; which arrived, in which order, and from where."""
    caller, callee = udp(path.caller, caller_port), udp(path.callee, callee_port)
    got: dict[str, list[tuple[bytes, Any]]] = {"to_caller": [], "to_callee": []}
    loop = asyncio.get_running_loop()
    for name, sock in (("to_caller", caller), ("to_callee", callee)):
        loop.add_reader(sock, lambda name=name, sock=sock: got[name].append(sock.recvfrom(4096)))
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
            name: stack.enter_async_context(TorPath(wish, lab.tor).open(lab.host("caller"), lab.host("callee"), PORTS))
            for name, wish in wishes.items()
        }
        paths = dict(zip(opening, await asyncio.gather(*opening.values()), strict=True))
        report["somebody_elses"] = await others
        exchanged = await asyncio.gather(*(exchange(path, DATAGRAMS, 4000, 4000) for path in paths.values()))
        for (name, path), result in zip(paths.items(), exchanged, strict=True):
            report[name] = {
                "hops": [hop.nickname for hop in path.hops],
                "details": path.details,
                "exchanged": result,
                "unknown_ports": await exchange(path, 20, 5555, 6666),
                "tor": await tors_view(control, path.circuit_id),
                "failure": path.failure(),
                "stranger": await stranger(lab, path),
            }
        ids = [path.circuit_id for path in paths.values()]
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
        async with TorPath(request, lab.tor).open(lab.host("caller"), lab.host("callee"), PORTS):
            return {"outcome": "opened"}
    except CallFailure as failure:
        return {"outcome": str(failure.outcome), "line": str(failure), "evidence": failure.evidence}


async def failure_after(path: OpenPath, act: Any, timeout_s: float = 5.0) -> dict[str, Any]:
    before = path.failure()
    act()
    begun = time.monotonic()
    while path.failure() is None and time.monotonic() - begun < timeout_s:
        await asyncio.sleep(0.01)
    return {"before": before, "reason": path.failure(), "after_s": time.monotonic() - begun}


async def kept_circuit(lab: Lab) -> list[dict[str, Any]]:
    path = TorPath(CircuitRequest(hops=2, guard="relay4", exit="relay8"), lab.tor, keep_circuit=True)
    seen = []
    for _ in range(2):
        async with path.open(lab.host("caller"), lab.host("callee"), PORTS) as opened:
            seen.append({"circuit": opened.circuit_id, "kept": opened.details["circuit_kept"]})
    return seen


async def onion(lab: Lab) -> dict[str, Any]:
    async with OnionPath(lab.tor).open(lab.host("caller"), lab.host("callee"), PORTS) as path:
        report = {
            "exchanged": await exchange(path, 100, 4000, 4000),
            "hops": [hop.nickname for hop in path.hops],
            "failure": path.failure(),
        }
    return {**report, "details": path.details}


async def nodelay(lab: Lab) -> dict[str, Any]:
    """How many connections of the circuit's relays and the clients are not as the path says, while it is open."""
    wish, pids = CircuitRequest(hops=2, guard="relay4", exit="relay8"), lab.tor.voice_pids()
    report: dict[str, Any] = {}
    for on in (True, False):
        path = TorPath(wish, lab.tor, nodelay=on)
        async with path.open(lab.host("caller"), lab.host("callee"), PORTS) as opened:
            # Relays may connect to each other at any moment; those of this circuit have what they need.
            names = ("relay4", "relay8", "caller", "callee")
            report[str(on)] = sum(set_nodelay(pids[name], on) for name in names)
            report[f"{on}_recorded"] = opened.details["relay_nodelay"]
    return report


async def deaths(lab: Lab) -> dict[str, Any]:
    """Parts of a path that die under the call."""
    report: dict[str, Any] = {}
    async with TcpPath().open(lab.host("caller"), lab.host("callee"), PORTS) as path:
        report["tcp"] = await exchange(path, 50, 4000, 4000)
        forwarder = path.ends.callee.pid
        report["forwarder"] = await failure_after(path, lambda: os.kill(forwarder, signal.SIGKILL))
    assert lab.private_tor is not None
    tor = lab.private_tor
    request = CircuitRequest(guard="relay4", middle="relay5", exit="relay3")
    async with TorPath(request, lab.tor).open(lab.host("caller"), lab.host("callee"), PORTS) as path:
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
            "deaths": await deaths(lab),
        }
    Path(sys.argv[1]).write_text(json.dumps(report))


if __name__ == "__main__":
    if not in_sandbox():
        raise SystemExit(rerun_inside())
    asyncio.run(main())
