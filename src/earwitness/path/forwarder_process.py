"""The parent's side of a forwarder: start it on a host, follow its events, stop it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from typing import Any, Self

from earwitness.errors import CallFailure, Outcome
from earwitness.netns.child import Child, ChildGone, JsonChild
from earwitness.netns.host import Host
from earwitness.path.base import PhonePorts
from earwitness.path.facts import FlowCounts, ForwarderCounts, StreamFacts
from earwitness.path.forwarder import OTHER, ForwarderConfig
from earwitness.path.probe import RoundTrips, Throughput, summarise_round_trips

START_TIMEOUT_S = 15.0
_STOP_TIMEOUT_S = 2.0


def flow_ports(ports: PhonePorts) -> dict[str, list[int] | None]:
    """The flows of a path for these phones: SIP, RTP and RTCP, and one for all other ports."""
    known = {"sip": ports.sip, "rtp": ports.rtp, "rtcp": ports.rtcp}
    return {**{name: [port, port] for name, port in known.items()}, OTHER: None}


async def start_forwarder(host: Host, config: ForwarderConfig) -> Child:
    """The process of a forwarder on a host of this machine; it inherits the TUN descriptor in the configuration."""
    argv = [sys.executable, "-m", "earwitness.path.forwarder"]
    return await JsonChild.start(host, argv, f"forwarder on {host.name}", pass_fds=[config.tun])


class ForwarderProcess:
    """One running forwarder. Use `running`."""

    def __init__(self, host: Host, child: Child, flow_names: Iterable[str]) -> None:
        self.host = host
        self.pid = child.pid
        self.flow_names = tuple(flow_names)
        self.listening: tuple[str, int] | None = None
        self.opened: dict[str, StreamFacts] = {}
        """Flows whose stream is open."""
        self.refused: dict[str, dict[str, Any]] = {}
        """Flows whose stream was refused, with the reason."""
        self.closed: dict[str, str] = {}
        """Flows whose stream closed later, with the reason."""
        self.statistics = ForwarderCounts()
        """The latest counters."""
        self.round_trips: RoundTrips | None = None
        """The latest result of the command `ping`."""
        self.carried: Throughput | None = None
        """What arrived here in the latest transfer."""
        self.problem: str | None = None
        """Why the forwarder no longer works; None while it does."""
        self._child = child
        self._ready = False
        self._changed = asyncio.Event()
        self._stopping = False

    @classmethod
    @asynccontextmanager
    async def running(
        cls, host: Host, start: Callable[[ForwarderConfig], Awaitable[Child]], config: ForwarderConfig
    ) -> AsyncIterator[Self]:
        """Start a forwarder on this host, configure it, and wait until it is ready to listen or to open streams.

        It is stopped on leaving. Raises `CallFailure` (`PATH_FAILED`).
        """
        end = cls(host, await start(config), config.flows)
        reader = asyncio.ensure_future(end._follow())
        try:
            end._tell(asdict(config))
            await end.until(lambda: end._ready, START_TIMEOUT_S, "starting the forwarder on")
            yield end
        finally:
            end._stopping = True
            await end._stop(reader)

    def command(self, name: str, **values: Any) -> None:
        """Send a command."""
        self._tell({"command": name, **values})

    def forget_measured(self) -> None:
        """Clear earlier results before another probe."""
        self.round_trips, self.carried = None, None

    def kill(self) -> None:
        """Kill the forwarder, as a crash would, if it runs on this machine."""
        if self.pid:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    @property
    def lost_stream(self) -> str | None:
        """Which stream closed first and why, or None."""
        for flow, reason in self.closed.items():
            return f"the {flow} stream closed at the {self.host.name}: {reason}"
        return None

    async def until(self, holds: Callable[[], bool], timeout_s: float, stage: str) -> None:
        """Wait for a condition. Raises `CallFailure` (`PATH_FAILED`) if the forwarder fails or time runs out."""
        try:
            async with asyncio.timeout(timeout_s):
                while not holds():
                    if self.problem is not None:
                        raise self._failure(stage, self.problem)
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError as error:
            raise self._failure(stage, f"nothing after {timeout_s:g} s") from error

    def _tell(self, value: Mapping[str, Any]) -> None:
        with suppress(ChildGone):  # the reader of its output notices that it ended
            self._child.send(value)

    async def _follow(self) -> None:
        try:
            while True:
                self._hear(await self._child.receive())
                self._changed.set()
        except ChildGone as gone:
            if not self._stopping:
                self.problem = self.problem or f"the forwarder on {self.host.name} ended: {gone.happened}"
            self._changed.set()
        except (KeyError, TypeError) as error:  # a forwarder on another machine may not follow the protocol
            self.problem = f"the forwarder on {self.host.name} sent an invalid event: {error!r}"
            self._changed.set()

    def _hear(self, said: dict[str, Any]) -> None:
        event, flow = said.pop("event"), said.get("flow", "")
        if event == "listening":
            self.listening, self._ready = (said["address"], said["port"]), True
        elif event == "ready":
            self._ready = True
        elif event in ("open", "accepted"):
            self.opened[flow] = StreamFacts(connect_ms=said.get("connect_ms"), greeting_ms=said.get("greeting_ms"))
        elif event == "refused":
            self.refused[flow] = said
        elif event == "closed":
            self.closed[flow] = said["reason"]
        elif event == "statistics":
            self.statistics = ForwarderCounts(
                flows={name: FlowCounts(**counts) for name, counts in said["flows"].items()},
                ignored=said["ignored"],
                strangers=said["strangers"],
            )
        elif event == "pinged":
            self.round_trips = summarise_round_trips(said["sent"], said["times_ms"])
        elif event == "carried":
            self.carried = Throughput(said["bytes"], said["seconds"])
        elif event == "failed":
            self.problem = f"the forwarder on {self.host.name}: {said['reason']}"

    def _failure(self, stage: str, happened: str) -> CallFailure:
        return CallFailure(
            Outcome.PATH_FAILED,
            stage,
            on=self.host.name,
            happened=happened,
            remedy="try again; if it fails again, run `earwitness doctor`",
            evidence={"host": self.host.name, "refused": self.refused, "closed": self.closed},
        )

    async def _stop(self, reader: asyncio.Task[None]) -> None:
        """Ask it to stop, kill it if it does not; its final counters are kept."""
        self.command("stop")
        try:
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                await asyncio.shield(reader)
        except TimeoutError:
            reader.cancel()
            with suppress(asyncio.CancelledError):
                await reader
        await self._child.close(_STOP_TIMEOUT_S)
