"""Experiments on a lab, each run inside a sandbox by a test; arguments and results are JSON."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import subprocess
import sys
import time
from typing import Any

from earwitness.emulator.link_profile import LinkProfile
from earwitness.lab.lab import Lab
from earwitness.lab.plan import LabPlan

PORT = 4000
SO_TIMESTAMPNS = 35
SO_RCVBUFFORCE = 33


def rtp(sequence: int, size: int = 172) -> bytes:
    return struct.pack("!BBHII", 0x80, 0, sequence, sequence * 160, 0xCAFE) + bytes(size - 12)


class Ends:
    """A UDP socket at the caller and one at the callee; the callee's stamps arrivals in the kernel."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        caller, callee = lab.host("caller"), lab.host("callee")
        self.to = (callee.address, PORT)
        with caller.inside():
            self.sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with callee.inside():
            self.receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sender.bind((caller.address, PORT))
        self.receiver.bind(self.to)
        with contextlib.suppress(PermissionError):  # in a user namespace; the default holds some 160 packets
            self.receiver.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 24)
        self.receiver.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)

    def send(self, count: int, interval_s: float, size: int = 172, other: int = 0) -> list[int]:
        """Sending times, ns since the epoch; `other` packets that are not RTP go before each."""
        times = []
        start = time.monotonic()
        for number in range(count):
            for _ in range(other):
                self.sender.sendto(b"OPTIONS sip:callee SIP/2.0", self.to)
            times.append(time.time_ns())
            self.sender.sendto(rtp(number, size), self.to)
            time.sleep(max(0.0, start + (number + 1) * interval_s - time.monotonic()))
        return times

    def receive(self, quiet_s: float = 0.5) -> list[tuple[int, int]]:
        """(RTP sequence, arrival ns since the epoch by the kernel's stamp), until nothing comes for a while."""
        arrivals = []
        self.receiver.settimeout(quiet_s)
        try:
            while True:
                data, control, _, _ = self.receiver.recvmsg(2048, 128)
                if data[0] == 0x80:
                    seconds, nanoseconds = struct.unpack("qq", control[0][2][:16])
                    arrivals.append((struct.unpack_from("!H", data, 2)[0], seconds * 10**9 + nanoseconds))
        except TimeoutError:
            return arrivals

    def truth(self) -> Any:
        log = self.lab.truth("caller", "callee")
        return log[log["rtp_sequence"].notna()]


async def over(profile: dict[str, Any], count: int, interval_s: float, **how: Any) -> dict[str, Any]:
    """Send over one profile; what was sent, what arrived, and what the log says."""
    async with Lab.started(LabPlan(with_tor=False, seed=how.pop("seed", 1))) as lab:
        ends = Ends(lab)
        lab.set_link("caller", "callee", LinkProfile(**profile))
        sent = ends.send(count, interval_s, **how)
        arrived = ends.receive()
        log = ends.truth()
        return {
            "sent_ns": sent,
            "arrived": arrived,
            "log": {
                name: log[name].astype(object).where(log[name].notna(), None).tolist()
                for name in ("rtp_sequence", "in_ns", "due_ns", "out_ns", "fate", "length")
            },
            "drops": lab.host("caller").device_drops(),
            "statistics": lab.emulator.statistics(),
        }


async def several(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """`over` for each, one lab after the other."""
    return [await over(**run) for run in runs]


async def moving() -> dict[str, Any]:
    """Delays by the log before and after the callee moves from New York to Sydney, and what the plan says."""
    async with Lab.started(LabPlan(with_tor=False)) as lab:
        ends = Ends(lab)
        found = {}
        for city in ("New York", "Sydney"):
            lab.place_host("callee", city)
            began = time.monotonic_ns()
            ends.send(5, 0.002)
            ends.receive()
            log = lab.truth("caller", "callee", since_ns=began)
            found[city] = [((log["due_ns"] - log["in_ns"]) / 1e6).tolist(), lab.link("caller", "callee").delay_ms]
        return found


async def losing_a_host() -> dict[str, int]:
    """Fates, when the callee's device goes with packets under way, and after."""
    async with Lab.started(LabPlan(with_tor=False)) as lab:
        ends = Ends(lab)
        lab.set_link("caller", "callee", LinkProfile(delay_ms=200))
        ends.send(10, 0.001)
        lab.emulator.remove_host(lab.host("callee").number)
        ends.send(7, 0.001)
        await asyncio.sleep(0.4)
        return dict(lab.emulator.statistics()["fates"])


async def arranging() -> dict[str, Any]:
    """Which of 200 packets 20 % random loss takes, for seeds 5, 6 and 5 again in one lab."""
    async with Lab.started(LabPlan(with_tor=False)) as lab:
        ends = Ends(lab)
        found = []
        for seed in (5, 6, 5):
            lab.arrange(caller_place="London", links={"caller>callee": "loss=0.2,delay=1"}, seed=seed)
            ends.send(200, 0.0005)
            found.append(sorted(sequence for sequence, _ in ends.receive()))
        return {"found": found, "place": lab.host("caller").place, "back_ms": lab.link("callee", "caller").delay_ms}


async def tcp() -> dict[str, float]:
    """Least time to connect, and of one round trip over TCP at 30 ms each way; two processes of the hosts."""
    server = """if True:
        import socket
        s = socket.create_server(("", 7))
        print("ok", flush=True)
        for _ in range(5):
            c = s.accept()[0]
            c.send(c.recv(9))
    """
    client = """if True:
        import socket, sys, time
        connected, back = [], []
        for _ in range(5):
            begun = time.monotonic()
            s = socket.create_connection((sys.argv[1], 7))
            connected.append(time.monotonic() - begun)
            s.send(b"x")
            s.recv(1)
            back.append(time.monotonic() - begun - connected[-1])
        print(min(connected), min(back))
    """
    async with Lab.started(LabPlan(with_tor=False)) as lab:
        for pair in (("caller", "callee"), ("callee", "caller")):
            lab.set_link(*pair, LinkProfile(delay_ms=30))
        listening = lab.host("callee").popen([sys.executable, "-c", server], stdout=subprocess.PIPE)
        assert listening.stdout is not None
        listening.stdout.readline()
        argv = [sys.executable, "-c", client, lab.host("callee").address]
        # From another thread, which ends before its child: the child must live all the same.
        process = await asyncio.to_thread(lab.host("caller").popen, argv, stdout=subprocess.PIPE)
        out, _ = await asyncio.to_thread(process.communicate)
        connect_s, round_trip_s = map(float, out.split())
        listening.wait()
        return {"connect_ms": connect_s * 1e3, "round_trip_ms": round_trip_s * 1e3}


async def linger() -> None:
    """A lab with processes in it, until killed."""
    async with Lab.started(LabPlan(with_tor=False)) as lab:
        for host in lab.hosts.values():
            host.popen(["sh", "-c", "trap '' TERM INT HUP; (sleep 1000 &) ; sleep 1000"])
        print("lingering", flush=True)
        await asyncio.sleep(1000)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(globals()[sys.argv[1]](**json.loads(sys.argv[2])))))
