"""What the lab knows about one call (emulator, processes, load, ground truth), and the faults that it injects."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path

from earwitness.call.self_check import LatenessSummary
from earwitness.errors import EarwitnessError
from earwitness.lab.lab import Lab
from earwitness.lab.load.background import Background, LoadMeter, StandingLoad
from earwitness.lab.load.facts import LoadFacts
from earwitness.lab.load.spec import LOAD_CLIENT, LOAD_SERVER, LoadSpec
from earwitness.lab.plan import pair_names
from earwitness.path.base import OpenPath
from earwitness.path.registry import known_path


class LatenessWatch:
    """Lateness of the emulator for each of several concurrent calls; its own statistics cover only one period."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._worst: dict[object, LatenessSummary | None] = {}

    def begin(self, call: object) -> None:
        """A call begins now."""
        self._read()
        self._worst[call] = None

    def end(self, call: object) -> LatenessSummary | None:
        """Lateness since the call began; None if no packet was sent, or the call had not begun.

        If other calls began or ended meanwhile, the worst of the periods in between.
        """
        self._read()
        return self._worst.pop(call, None)

    def _read(self) -> None:
        lateness = self._lab.emulator.statistics(reset=True)["lateness"]
        if lateness["packets"]:
            for call, worst in self._worst.items():
                so_far = worst or LatenessSummary(0.0, 0.0)
                self._worst[call] = LatenessSummary(
                    max(so_far.p99_ms, float(lateness["p99_ms"])), max(so_far.max_ms, float(lateness["max_ms"]))
                )


class LabObserver:
    """The `earwitness.call.network.LabFacts` of the calls of one pair."""

    def __init__(self, lab: Lab, pair: int, lateness: LatenessWatch) -> None:
        self._lab, self._pair, self._lateness = lab, pair, lateness
        self._asked = LoadSpec()
        self._meter: LoadMeter | None = None

    def begin_load(self, asked: LoadSpec, load: Background | StandingLoad | None) -> None:
        """The load from now on, in the turn of a call; None: there is none, whatever was requested."""
        self._asked = asked
        self._meter = None if load is None else LoadMeter(load, self._lab.plan.relay_mbit or 0.0)

    def begin_lateness(self) -> None:
        """A call begins now."""
        self._lateness.begin(self)

    def load(self) -> LoadFacts:
        """The background traffic that the lab's relays carried in the turn of the call."""
        return LoadFacts(load=str(self._asked)) if self._meter is None else self._meter.facts()

    def lateness(self) -> LatenessSummary | None:
        """How late packets left the emulator since the call began; None where none left."""
        return self._lateness.end(self)

    def processes(self, opened: OpenPath) -> Mapping[str, int]:
        """The tors that the call's cells pass: the caller's, the relays', and for an onion service the callee's."""
        relays = opened.circuit.relays
        if not relays:
            return {}
        kind = known_path(opened.name)
        ends = [opened.caller, opened.callee] if kind is not None and kind.tor_at_callee else [opened.caller]
        names = [*(end.host.name for end in ends), *(relay.nickname for relay in relays)]
        return {name: self._lab.tor.pids[name] for name in names if name in self._lab.tor.pids}

    def write_truth(self, since_ns: int, out: Path) -> None:
        """Write the emulator's log since then: all packets between hosts of the lab except those of other pairs."""
        truth = self._lab.truth(since_ns=since_ns)
        # Packets at the load's own clients and servers are not part of the call; its traffic between relays is.
        others = [name for name in (LOAD_CLIENT, LOAD_SERVER) if name in self._lab.hosts]
        pairs = range(1, self._lab.plan.pairs + 1)
        others += [name for pair in pairs if pair != self._pair for name in pair_names(pair)]
        if others:
            truth = truth[~truth["source"].isin(others) & ~truth["destination"].isin(others)]
        truth.to_parquet(out, index=False, compression="zstd")

    def lose_relay(self, nickname: str) -> None:
        """Kill the tor of a relay of the private network."""
        pid = self._lab.tor.pids.get(nickname)
        if pid is None:
            raise EarwitnessError("killing relay", nickname, "this lab has no such relay", "choose one of its relays")
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return
