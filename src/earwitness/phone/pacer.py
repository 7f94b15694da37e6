"""Paced sending: each packet has its own absolute deadline, so errors do not accumulate.

The thread sleeps until shortly before the deadline and spins for the rest. It runs at real-time priority if the system
permits, with a timer slack of 1 ns. Every packet is sent, however late: a real phone's clock does not stop because the
machine is busy, and the deviations show how busy it was.
"""

from __future__ import annotations

import ctypes
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

SPIN_NS = 150_000
"""Spun before each deadline: more than a timer's usual error, but a negligible load (1 % of a core)."""
_PR_SET_TIMERSLACK = 29
_PRIORITY = 20
_SWITCH_INTERVAL_S = 0.0002


@dataclass(frozen=True)
class SendingTimes:
    """Deviation of sending from its deadlines, ms: time at which the kernel had the packet, less its deadline."""

    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float

    @staticmethod
    def of(deviations_ns: Sequence[int]) -> SendingTimes | None:
        """Summarise the deviations of all packets; None if none was sent."""
        if not deviations_ns:
            return None
        p50, p95, p99, most = np.percentile(np.abs(np.asarray(deviations_ns)) / 1e6, (50, 95, 99, 100))
        return SendingTimes(float(p50), float(p95), float(p99), float(most))


def prefer_punctuality() -> str:
    """Request punctual wake-ups for this process's threads; return the scheduling class obtained.

    SCHED_FIFO if permitted, for the whole process: a real-time thread that waits for the interpreter lock of a
    preempted one would be late. Otherwise a better nice value if permitted, else nothing.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_PRIORITY))
    except OSError:
        try:
            os.nice(-15)
        except OSError:
            return "normal"
        return "nice"
    return "fifo"


class PacedSender(threading.Thread):
    """Sends one packet per period from `origin_ns` (CLOCK_MONOTONIC) on; None in `packets` is an empty slot."""

    def __init__(
        self,
        sock: socket.socket,
        remote: tuple[str, int],
        packets: Sequence[bytes | None],
        origin_ns: int,
        period_ns: int,
        *,
        on_end: Callable[[], None],
    ) -> None:
        super().__init__(name="rtp-sender", daemon=True)
        self.remote = remote
        """Destination of the packets; may be changed while it runs."""
        self.origin_ns = origin_ns
        self.period_ns = period_ns
        self.slots = len(packets)
        self.deviations_ns: list[int] = []
        self.refused = 0
        """Sends that the system refused (such as after the path has gone); pacing continues."""
        self.octets = 0
        self.first_sent_ns: int | None = None
        self._sock = sock
        self._packets = packets
        self._on_end = on_end
        self._halt = threading.Event()

    def run(self) -> None:
        """Send until the last packet or until `halt`."""
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
        clock = time.monotonic_ns
        deadline = self.origin_ns
        for packet in self._packets:
            ahead = deadline - SPIN_NS - clock()
            if ahead > 0:
                time.sleep(ahead / 1e9)
            if self._halt.is_set():
                break
            if packet is not None:
                while clock() < deadline:
                    pass
                self._send(packet, deadline)
            deadline += self.period_ns
        self._on_end()

    def halt(self) -> None:
        """Stop sending; return when the thread has ended."""
        self._halt.set()
        if self.is_alive():
            self.join()

    def _send(self, packet: bytes, deadline: int) -> None:
        try:
            self._sock.sendto(packet, self.remote)
        except (OSError, OverflowError):  # OverflowError: port out of range
            self.refused += 1
            return
        sent = time.monotonic_ns()
        if self.first_sent_ns is None:
            self.first_sent_ns = sent
        self.octets += len(packet) - 12
        self.deviations_ns.append(sent - deadline)
