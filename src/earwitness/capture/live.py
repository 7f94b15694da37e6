"""Capture at one end of a call: a process on the host, kernel timestamps, one clock for both ends."""

from __future__ import annotations

import errno
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from earwitness.capture.clock import ClockStep, sample_clocks
from earwitness.errors import CallFailure, Outcome
from earwitness.netns.child import Child, ChildGone, JsonChild
from earwitness.netns.host import Host
from earwitness.untrusted import LONGEST_TEXT, MOST_NS, fields, fit, listed, plain, whole

SNAP_LENGTH = 65_536
"""Complete packets: the ear needs every byte of payload."""
MOST_BYTES = 512 << 20
"""Limit of a capture; packets beyond it count as dropped. An hour of both directions is about 100 MB: more is a
flood."""
_MOST_STEPS = 10_000
READY_WITHIN_S = 30.0
_SUMMARY_WITHIN_S = 10.0


def epoch_offset_ns() -> int:
    """The offset that turns CLOCK_MONOTONIC into the time since 1970, ns. Use one for the whole call."""
    realtime, monotonic = sample_clocks()
    return realtime - monotonic


def call_clock_ns(offset_ns: int) -> int:
    """The current time on the clock of the call with this offset."""
    return time.monotonic_ns() + offset_ns


def capture_command(
    interface: str,
    out: Path,
    epoch_offset_ns: int,
    *,
    ports: Sequence[int] = (),
    snap_length: int = SNAP_LENGTH,
    most_bytes: int = MOST_BYTES,
) -> list[str]:
    """The command line of a capture process; see `CaptureProcess.start`."""
    argv = [sys.executable, "-m", "earwitness.capture.agent", interface, str(out)]
    argv += ["--epoch-offset-ns", str(epoch_offset_ns), "--snap-length", str(snap_length)]
    argv += ["--most-bytes", str(most_bytes)]
    for port in ports:
        argv += ["--port", str(port)]
    return argv


@dataclass(frozen=True)
class CaptureSummary:
    """A capture process's final report."""

    path: Path
    packets: int
    dropped: int
    """Packets for which the kernel or the file had no room; unless 0, loss figures are unreliable."""
    clock_steps: tuple[ClockStep, ...]
    """Steps of the wall clock; they were removed from the timestamps."""


class CaptureProcess:
    """A running capture. Create it with `start`; `async with` or `stop` ends it and returns its summary."""

    def __init__(self, path: Path, child: Child) -> None:
        self.path = path
        self.summary: CaptureSummary | None = None
        self._child = child

    @classmethod
    async def start(
        cls,
        host: Host,
        interface: str,
        out: Path,
        *,
        epoch_offset_ns: int,
        ports: Sequence[int] = (),
        snap_length: int = SNAP_LENGTH,
    ) -> CaptureProcess:
        """Capture IPv4 UDP (of `ports`, if given) and ICMP, both directions, into a nanosecond pcap.

        Returns once no packet can be missed. Timestamps are CLOCK_MONOTONIC + `epoch_offset_ns`. Raises CallFailure:
        STORAGE_FAILED if `out` cannot be written, TOOL_MISSING without permission, PATH_FAILED without the device.
        """
        argv = capture_command(interface, out, epoch_offset_ns, ports=ports, snap_length=snap_length)
        child = await JsonChild.start(host, argv, f"capture on {interface} of {host.name}")
        return await cls.over(child, interface, out)

    @classmethod
    async def over(cls, child: Child, interface: str, out: Path) -> CaptureProcess:
        """Wrap a capture process that was just started; raises like `start`."""
        try:
            event = await child.receive(timeout_s=READY_WITHIN_S)
            if event["event"] != "ready":
                raise _failure(interface, out, event)
        except BaseException:
            await child.close(0.5)
            raise
        return cls(out, child)

    async def stop(self) -> CaptureSummary:
        """End the capture, including everything received until now; further calls return the same summary.

        Raises CallFailure (STORAGE_FAILED if it could not write, else FAILED) if the capture failed; the packets
        written until then are readable.
        """
        if self.summary is not None:
            return self.summary
        try:
            self._child.close_stdin()
            event = await self._child.receive(timeout_s=_SUMMARY_WITHIN_S)
        except ChildGone as gone:
            raise CallFailure(
                Outcome.FAILED, "ending the capture", on=self.path, happened=gone.happened, remedy=gone.remedy
            ) from gone
        finally:
            await self._child.close()
        if event["event"] != "summary":
            raise _failure("", self.path, event)
        try:
            steps = listed(event["clock_steps"], _step, _MOST_STEPS, what="clock steps")
            packets, dropped = (whole(event[key], what=key) for key in ("packets", "dropped"))
            self.summary = CaptureSummary(self.path, packets, dropped, steps)
        except (KeyError, TypeError, ValueError) as error:  # from a capture on another machine
            raise _failure("", self.path, {"happened": f"an invalid summary: {error!r:.200}"}) from error
        return self.summary

    async def __aenter__(self) -> CaptureProcess:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            await self.stop()
        else:
            await self._child.close(2.0)


def _step(value: object) -> ClockStep:
    given = fields(value, what="a clock step")
    return ClockStep(*(whole(given.get(key), -MOST_NS, MOST_NS, what=key) for key in ("at_ns", "by_ns")))


def _failure(interface: str, out: Path, event: dict[str, object]) -> CallFailure:
    """Convert a capture process's error event to a typed failure."""
    said = plain(event)
    number, happened = said.get("errno"), fit(str(said.get("happened", said)), LONGEST_TEXT)
    if number in (errno.EPERM, errno.EACCES) and not event.get("on"):
        outcome, on, remedy = Outcome.TOOL_MISSING, interface, "run as root or in the lab's user namespace"
    elif number in (errno.ENODEV, errno.ENXIO, errno.ENETDOWN):
        outcome, on, remedy = Outcome.PATH_FAILED, interface or str(out), "check that the path is still open"
    elif number is not None:
        outcome, on, remedy = Outcome.STORAGE_FAILED, str(out), "free space, or write to another place"
    else:
        outcome, on, remedy = Outcome.FAILED, str(out), "see its evidence"
    return CallFailure(outcome, "capturing", on=on, happened=happened, remedy=remedy, evidence=said)
