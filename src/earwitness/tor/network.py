"""`PrivateTor`: a private Tor network of real `tor` processes, one per host, from keys to the first usable circuit."""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from earwitness.errors import CallFailure, EarwitnessError, InputError, Outcome
from earwitness.events import Listener, StageReached, ignore
from earwitness.netns.host import Host
from earwitness.tor.control import TorControl
from earwitness.tor.control_address import ControlAddress
from earwitness.tor.description import TorClient, TorNetwork
from earwitness.tor.gather_or_cancel import gather_or_cancel
from earwitness.tor.keys import make_authority, need_tor
from earwitness.tor.nodelay import keep_nodelay, set_nodelay
from earwitness.tor.process import TorProcess, stop_all
from earwitness.tor.relays import Relay
from earwitness.tor.select import CircuitRequest, choose_relays
from earwitness.tor.torrc import (
    FIRST_VOTE_TO_CONSENSUS_S,
    SOCKS_PORT,
    VOTING_OFFSET,
    Authority,
    Node,
    TorOptions,
    voting_offset,
)

BOOT_TIMEOUT_S = 90.0
_POLL_S = 0.1
_TIME_TO_VOTE_S = 1.0
"""Time from the decision to vote to the vote, in which all authorities must learn of it."""
_CIRCUIT_TRY_S = 5.0
_DIRECTORY_FILES = ("cached-certs", "cached-microdesc-consensus", "cached-microdescs", "cached-microdescs.new")


class PrivateTor:
    """Directory authorities, relays and clients on the given hosts; an async context manager.

    Args:
        authorities: hosts of the directory authorities (3 by default in the lab).
        relays: hosts of the relays; a relay's nickname is its host's name.
        clients: hosts with a client: caller and callee.
        state: directory for keys, logs and sockets; keep its path short (a unix socket's path has at most 107 bytes).
        countries: the country of each place, for choosing relays by country.
        on_event: called with each `StageReached` of the boot.

    Entering waits until every client has built a circuit through the network. It raises `CallFailure`: `TOOL_MISSING`
    if tor is not installed; `LAB_FAILED` with the last log lines if a tor dies or the time limit passes.
    """

    def __init__(
        self,
        *,
        authorities: Sequence[Host],
        relays: Sequence[Host],
        clients: Sequence[Host],
        state: Path,
        options: TorOptions | None = None,
        countries: Mapping[str, str] | None = None,
        on_event: Listener = ignore,
        timeout_s: float = BOOT_TIMEOUT_S,
    ) -> None:
        self.options = options or TorOptions()
        self.boot_s: dict[str, float] = {}
        """Seconds from the start of the boot to the end of each stage."""
        self._authorities = tuple(authorities)
        self._relays = tuple(relays)
        self._clients = tuple(clients)
        self._state = state
        self._countries = dict(countries or {})
        self._on_event = on_event
        self._timeout_s = timeout_s
        self._running: list[TorProcess] = []
        self._network: TorNetwork | None = None
        self._nodelay: asyncio.Future[None] | None = None

    @property
    def network(self) -> TorNetwork:
        """The running network."""
        if self._network is None:
            raise EarwitnessError("using the private Tor network", self._state, "it is not up", "start it first")
        return self._network

    @property
    def relays(self) -> tuple[Relay, ...]:
        """The relays, without authorities, with their consensus flags and places."""
        return self.network.relays

    def client(self, host_name: str) -> TorClient:
        """The client on a host: control socket and SOCKS address."""
        return self.network.client(host_name)

    def process(self, nickname: str) -> TorProcess:
        """The tor with this nickname; tests call `.kill()` on it to lose a relay."""
        for tor in self._running:
            if tor.node.nickname == nickname:
                return tor
        raise EarwitnessError("looking for the tor", nickname, "there is none", "see the names of the lab's hosts")

    def check(self) -> None:
        """Raise `CallFailure` (`LAB_FAILED`) if any tor of the network has died."""
        for tor in self._running:
            tor.check()

    async def __aenter__(self) -> PrivateTor:
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._boot()
        except TimeoutError as error:
            failure = self._too_late()
            await self.stop()
            raise failure from error
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """End all processes: SIGTERM, 3 s, SIGKILL."""
        if self._nodelay is not None:
            self._nodelay.cancel()
            await asyncio.gather(self._nodelay, return_exceptions=True)
        running, self._running, self._network = self._running, [], None
        await stop_all(running)

    # -- the boot, in order ------------------------------------------------------------------------

    async def _boot(self) -> None:
        need_tor()
        begun = time.monotonic()

        def done(stage: str, next_stage: str, fraction: float) -> None:
            self.boot_s[stage] = time.monotonic() - begun
            self._on_event(StageReached(next_stage, fraction))

        self._on_event(StageReached("making the authorities' keys", 0.0))
        authorities = await self._make_keys()
        done("keys", "starting authorities and relays", 0.1)
        self._start_relays(authorities)
        done("started", "waiting for the relays' descriptors", 0.2)
        await self._all_published()
        done("published", "waiting for the first consensus", 0.4)
        everybody = await self._first_consensus()
        relays = everybody[: len(self._relays)]
        done("consensus", "starting the clients", 0.6)
        clients = self._start_clients(authorities)
        done("clients", "building the first circuits", 0.7)
        await gather_or_cancel(
            *(self._knows_the_others(self.process(relay.nickname)) for relay in relays),
            *(self._first_circuit(client, relays) for client in clients.values()),
        )
        self.boot_s["circuit"] = time.monotonic() - begun
        pids = {tor.node.nickname: tor.process.pid for tor in self._running}
        self._network = TorNetwork(
            "lab", relays, clients, pids, everybody[len(relays) :], relay_nodelay=self.options.relay_nodelay
        )
        if self.options.relay_nodelay:
            voice = self._network.pids.values()
            for pid in voice:
                set_nodelay(pid, True)
            self._nodelay = asyncio.ensure_future(keep_nodelay(voice))
        self._on_event(StageReached("the Tor network is up", 1.0))

    async def _make_keys(self) -> tuple[Authority, ...]:
        make = (make_authority(host.name, host.address, self._state / host.name) for host in self._authorities)
        return tuple(await gather_or_cancel(*make))

    def _start_relays(self, authorities: tuple[Authority, ...]) -> None:
        refusing = set(self.options.refusing)
        exits = self._named(self.options.exits, self._relays[1::2]) | refusing
        guards = self._named(self.options.guards, self._relays)
        self._named(self.options.refusing, ())
        flagged = [[host.address for host in self._relays if host.name in names] for names in (exits, guards)]
        for host in self._authorities:
            torrc = self._node(host, authorities).authority(*flagged, started_s=time.time())
            self._start(host, torrc, authorities)
        for host in self._relays:
            node = self._node(host, authorities)
            torrc = node.relay(is_exit=host.name in exits, refuses=host.name in refusing, mbit=self.options.relay_mbit)
            self._start(host, torrc, authorities)

    def _named(self, names: Sequence[str] | None, otherwise: Sequence[Host]) -> set[str]:
        """Relays by nickname, or the default. Raises `InputError` for a name that no relay has."""
        if names is None:
            return {host.name for host in otherwise}
        known = {host.name for host in self._relays}
        if unknown := set(names) - known:
            there_are = ", ".join(sorted(known))
            raise InputError(
                "looking for relays", ", ".join(sorted(unknown)), "no such relay", f"there are: {there_are}"
            )
        return set(names)

    def _start_clients(self, authorities: tuple[Authority, ...]) -> dict[str, TorClient]:
        clients: dict[str, TorClient] = {}
        for host in self._clients:
            self._hand_directory_to(host)
            tor = self._start(host, self._node(host, authorities).client(), authorities)
            clients[host.name] = TorClient(host.name, tor.control, ("127.0.0.1", SOCKS_PORT), tor.process.pid)
        return clients

    def _hand_directory_to(self, host: Host) -> None:
        """Copy an authority's directory to a client, as if the client had run a minute ago.

        The relays fetch the directory only in the next seconds. A client that asks one of them too early gets nothing,
        and retries after ten seconds (measured: in half of the boots).
        """
        source, target = self._state / self._authorities[0].name, self._state / host.name
        target.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in _DIRECTORY_FILES:
            if (source / name).is_file():
                shutil.copyfile(source / name, target / name)

    def _node(self, host: Host, authorities: tuple[Authority, ...]) -> Node:
        return Node(host.name, host.address, self._state / host.name, authorities, self.options.extra)

    def _start(self, host: Host, torrc: str, authorities: tuple[Authority, ...]) -> TorProcess:
        tor = TorProcess.start(host, self._node(host, authorities), torrc)
        self._running.append(tor)
        return tor

    async def _all_published(self) -> None:
        """Wait until every authority has every relay's descriptor, and then make them all vote in the same second.

        A vote at a fixed time would come too late or too early, and a late relay would have to wait for the next one.
        """
        wanted = {host.name for host in (*self._relays, *self._authorities)}
        async with AsyncExitStack() as stack:
            controls = [
                await stack.enter_async_context(TorControl.connect(await self._socket(authority)))
                for authority in self._running[: len(self._authorities)]
            ]
            for control in controls:
                while not wanted <= await _described(control):
                    self.check()
                    await asyncio.sleep(_POLL_S)
            offset = voting_offset(time.time() + _TIME_TO_VOTE_S + FIRST_VOTE_TO_CONSENSUS_S)
            await gather_or_cancel(*(control.configure(VOTING_OFFSET, str(offset)) for control in controls))

    async def _first_consensus(self) -> tuple[Relay, ...]:
        """Wait until every authority has a consensus that lists all nodes as running: relays, then authorities."""
        wanted = {host.name: host for host in (*self._relays, *self._authorities)}
        seen: dict[str, Relay] = {}
        for authority in self._running[: len(self._authorities)]:
            async with TorControl.connect(authority.control) as control:
                while not wanted.keys() <= seen.keys():
                    self.check()
                    seen = {relay.nickname: relay for relay in await control.relays() if "Running" in relay.flags}
                    await asyncio.sleep(_POLL_S)
        return tuple(self._placed(seen[name], host) for name, host in wanted.items())

    def _placed(self, relay: Relay, host: Host) -> Relay:
        return replace(relay, place=host.place, country=self._countries.get(host.place, ""))

    async def _knows_the_others(self, relay: TorProcess) -> None:
        """Make a relay fetch the consensus now, not at its next scheduled try.

        Without a consensus it takes other relays for clients, and as the exit of a two-hop circuit it refuses every
        stream ("Attempt to open a stream from unknown relay").
        """
        relay.signal(signal.SIGHUP)  # forgets failed tries, and fetches
        async with TorControl.connect(relay.control) as control:
            while not await control.relays():
                self.check()
                await asyncio.sleep(_POLL_S)

    async def _first_circuit(self, client: TorClient, relays: tuple[Relay, ...]) -> None:
        """Wait until the client has built a three-hop circuit, and can build circuits of its own."""
        tor = self.process(client.host)
        async with TorControl.connect(await self._socket(tor)) as control:
            attempt = 0
            while True:
                self.check()
                try:
                    hops = choose_relays(CircuitRequest(hops=min(3, len(relays)), seed=attempt), relays)
                    circuit = await control.build_circuit([hop.fingerprint for hop in hops], timeout_s=_CIRCUIT_TRY_S)
                except CallFailure:
                    # The client does not know a relay yet (tor refuses at once), or a relay is still starting.
                    attempt += 1
                    await asyncio.sleep(_POLL_S)
                    continue
                await control.close_circuit(circuit.id)
                while await control.info("status/enough-dir-info") != "1":
                    await asyncio.sleep(_POLL_S)
                return

    async def _socket(self, tor: TorProcess) -> ControlAddress:
        """Wait for its control socket to accept connections (the file exists a moment earlier)."""
        while not _listens(tor.node.control_socket):
            tor.check()
            await asyncio.sleep(0.02)
        return tor.control

    def _too_late(self) -> CallFailure:
        reached = max(self.boot_s, key=lambda stage: self.boot_s[stage], default="nothing")
        logs = {tor.node.nickname: tor.last_words()[-4:] for tor in self._running}
        return CallFailure(
            Outcome.LAB_FAILED,
            "starting the private Tor network in",
            on=self._state,
            happened=f"not ready after {self._timeout_s:g} s; the last stage done was: {reached}",
            remedy="try again when the machine is less busy",
            evidence={"boot_s": dict(self.boot_s), "logs": logs},
        )


async def _described(control: TorControl) -> set[str]:
    """Nicknames of the relays whose descriptors this tor has (dir-spec 2.1.1)."""
    descriptors = (await control.info("desc/all-recent")).splitlines()
    return {line.split()[1] for line in descriptors if line.startswith("router ")}


def _listens(path: Path) -> bool:
    """Whether a unix socket accepts connections."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
