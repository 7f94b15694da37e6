"""The lab: hosts in cities, the emulator between them, and the private Tor network on top.

    async with Lab.started(LabPlan()) as lab:
        lab.host("caller").popen([...])

works only inside a sandbox (`earwitness.netns.sandbox`); commands use `earwitness.lab.session`, which enters one and
joins a running lab.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from earwitness.emulator.client import EmulatorClient
from earwitness.emulator.link_profile import LinkProfile
from earwitness.emulator.process import running_emulator
from earwitness.errors import EarwitnessError
from earwitness.events import Listener, StageReached, ignore
from earwitness.geography import Place, place
from earwitness.lab.plan import HostPlan, LabPlan, pair_names
from earwitness.netns.namespace import NamespaceHost, create_host, remove_host
from earwitness.netns.sandbox import STATE_DIR, in_sandbox

if TYPE_CHECKING:
    import pandas as pd

    from earwitness.tor.description import TorNetwork
    from earwitness.tor.network import PrivateTor

LAB_DIR = STATE_DIR / "lab"
"""The directory of all the lab's files; a sandbox has one lab."""
LAB_FILE = LAB_DIR / "lab.json"
"""The lab's description for processes that join; written once the lab is ready."""


class Lab:
    """A running lab, from `started`, or from `joined` if another process of the sandbox started it."""

    def __init__(self, plan: LabPlan, hosts: Mapping[str, NamespaceHost], emulator: EmulatorClient) -> None:
        self.plan = plan
        self.hosts = dict(hosts)
        self.emulator = emulator
        self.state_dir = LAB_DIR
        self.private_tor: PrivateTor | None = None
        """The owner of the Tor network; set only in the process that started the lab."""
        self._tor: TorNetwork | None = None

    # -- beginning and end ---------------------------------------------------------------------------

    @classmethod
    @contextlib.asynccontextmanager
    async def started(cls, plan: LabPlan, on_event: Listener = ignore) -> AsyncIterator[Lab]:
        """Start a lab, and end it on exit.

        Raises:
            EarwitnessError: not in a sandbox, or a part did not start.
        """
        if not in_sandbox():
            raise EarwitnessError("starting", "a lab", "not inside a sandbox", "use earwitness.lab.session")
        hosts = {planned.name: _new_host(planned, number) for number, planned in enumerate(plan.hosts(), 1)}
        async with contextlib.AsyncExitStack() as parts:
            try:
                LAB_DIR.mkdir(mode=0o700)
            except FileExistsError as error:
                raise EarwitnessError("starting", "a lab", "one is in this sandbox already", "join it") from error
            parts.callback(shutil.rmtree, LAB_DIR)
            emulator = parts.enter_context(running_emulator(LAB_DIR, plan.seed))
            lab = cls(plan, hosts, emulator)
            for host in hosts.values():
                device = create_host(host)
                parts.callback(remove_host, host)
                try:
                    emulator.add_host(host.number, host.name, host.address, device)
                finally:
                    os.close(device)
            lab._set_links(lambda source, destination: True)
            if plan.with_tor:
                lab.private_tor = await parts.enter_async_context(_private_tor(lab, on_event))
                lab._tor = lab.private_tor.network
            if plan.standing_load:
                from earwitness.lab.load.background import standing

                on_event(StageReached("starting the load", 1.0))
                await parts.enter_async_context(standing(lab, plan.standing_load, plan.seed))
            lab._write()
            parts.callback(LAB_FILE.unlink, missing_ok=True)
            on_event(StageReached("the lab is up", 1.0))
            yield lab

    @classmethod
    @contextlib.contextmanager
    def joined(cls) -> Iterator[Lab]:
        """Join the lab that another process of this sandbox started.

        Raises:
            EarwitnessError: there is none, or it is not ready.
        """
        try:
            record = json.loads(LAB_FILE.read_text())
        except OSError as error:
            raise EarwitnessError("joining", "the lab", "it is not ready", "run `earwitness lab up`") from error
        hosts = [NamespaceHost(**{**values, "location": Place(**values["location"])}) for values in record["hosts"]]
        emulator = EmulatorClient(LAB_DIR)
        try:
            lab = cls(LabPlan.from_dict(record["plan"]), {host.name: host for host in hosts}, emulator)
            if record["tor"] is not None:
                from earwitness.tor.description import TorNetwork

                lab._tor = TorNetwork.from_json(record["tor"])
            yield lab
        finally:
            emulator.close()

    # -- its parts -----------------------------------------------------------------------------------

    def host(self, name: str) -> NamespaceHost:
        """The host of that name: caller, callee, server, authority1, relay1 ...

        Raises:
            EarwitnessError: there is none.
        """
        if name not in self.hosts:
            raise EarwitnessError("finding host", name, "not in this lab", f"choose one of {', '.join(self.hosts)}")
        return self.hosts[name]

    @property
    def tor(self) -> TorNetwork:
        """The private Tor network: relays, clients, process ids.

        Raises:
            EarwitnessError: the lab was started without one.
        """
        if self._tor is None:
            raise EarwitnessError("using", "the lab's Tor network", "started without it", "plan the lab with_tor=True")
        return self._tor

    def truth(
        self,
        source: str | None = None,
        destination: str | None = None,
        since_ns: int = 0,
        until_ns: int | None = None,
    ) -> pd.DataFrame:
        """The emulator's log, without packets in flight: see `earwitness.emulator.truth.read_truth`."""
        from earwitness.emulator.truth import read_truth

        self.emulator.flush()
        numbers = {host.number: host.name for host in self.hosts.values()}
        return read_truth(self.state_dir, numbers, source, destination, since_ns, until_ns)

    # -- changing it ---------------------------------------------------------------------------------

    def arrange(
        self,
        *,
        caller_place: str | None = None,
        callee_place: str | None = None,
        links: Mapping[str, str] | None = None,
        seed: int | None = None,
    ) -> None:
        """Prepare the next call: set the places of the ends, the link settings (both as in `LabPlan`) and the seed.

        All links restart: random streams from the seed, loss patterns and traces from their first packet. Settings
        that are not given stay unchanged.

        Raises:
            InputError: no such city, host or setting; nothing has changed then.
        """
        now = self.plan
        self.plan = dataclasses.replace(
            now,
            caller_place=now.caller_place if caller_place is None else caller_place,
            callee_place=now.callee_place if callee_place is None else callee_place,
            links=now.links if links is None else links,
            seed=now.seed if seed is None else seed,
        )
        for planned in self.plan.hosts()[:3]:
            self.hosts[planned.name].place = _label(planned.place)
            self.hosts[planned.name].location = place(planned.place)
        self._set_links(lambda source, destination: True, seed=self.plan.seed)
        self._write()

    def arrange_pair(self, pair: int, *, caller_place: str, callee_place: str, link: str = "", seed: int) -> None:
        """Prepare one pair of ends for its next call, while other pairs may be in calls: only its own links restart.

        `link`: impairments of all the caller's links, on top of the plan's. Links between other hosts do not restart,
        so their random streams depend on earlier calls.

        Raises:
            InputError: no such city or setting; nothing has changed then.
        """
        names = pair_names(pair)
        cities = dict(zip(names, (caller_place, callee_place), strict=True))
        located = {name: place(city) for name, city in cities.items()}
        LinkProfile().with_spec(link)
        for name in names:
            self.host(name).place, self.host(name).location = _label(cities[name]), located[name]
        places = {host.name: host.location for host in self.hosts.values()}
        links = []
        for source, destination, profile in self.plan.links_between(places):
            if names[0] in (source, destination):
                profile = profile.with_spec(link)
            if source in names or destination in names:
                links.append((self.hosts[source].number, self.hosts[destination].number, profile))
        self.emulator.set_links(links, seed)
        self._write()

    def place_host(self, name: str, city: str) -> None:
        """Move one host to another city; its links' delays change from the next packet on."""
        host = self.host(name)
        host.place, host.location = _label(city), place(city)
        self._set_links(lambda source, destination: name in (source, destination))
        self._write()

    def set_link(self, source: str, destination: str, profile: LinkProfile) -> None:
        """Change one direction between two hosts, from the next packet on."""
        self.emulator.set_links([(self.host(source).number, self.host(destination).number, profile)])

    def link(self, source: str, destination: str) -> LinkProfile:
        """The plan's link profile for one direction between two hosts at their present places."""
        places = {name: self.host(name).location for name in (source, destination)}
        return next(profile for a, b, profile in self.plan.links_between(places) if (a, b) == (source, destination))

    def _set_links(self, wanted: Callable[[str, str], bool], seed: int | None = None) -> None:
        places = {host.name: host.location for host in self.hosts.values()}
        links = [
            (self.hosts[source].number, self.hosts[destination].number, profile)
            for source, destination, profile in self.plan.links_between(places)
            if wanted(source, destination)
        ]
        self.emulator.set_links(links, seed)

    def _write(self) -> None:
        """Rewrite `LAB_FILE` atomically."""
        record = {
            "plan": self.plan.to_dict(),
            "hosts": [dataclasses.asdict(host) for host in self.hosts.values()],
            "tor": None if self._tor is None else self._tor.to_json(),
        }
        draft = LAB_FILE.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps(record))
        draft.replace(LAB_FILE)


def _label(city: str) -> str:
    return city.partition(",")[0].strip()


def _new_host(planned: HostPlan, number: int) -> NamespaceHost:
    return NamespaceHost(
        name=planned.name,
        place=_label(planned.place),
        address=f"10.77.{number}.1",
        number=number,
        location=place(planned.place),
        role=planned.role,
    )


def _private_tor(lab: Lab, on_event: Listener) -> PrivateTor:
    from earwitness.tor.network import PrivateTor
    from earwitness.tor.torrc import TorOptions

    def of(*roles: str) -> list[NamespaceHost]:
        return [host for host in lab.hosts.values() if host.role in roles]

    options = TorOptions(
        exits=tuple(host.name for host in of("exit")),
        refusing=lab.plan.refusing_exits,
        relay_nodelay=lab.plan.relay_nodelay,
        relay_mbit=lab.plan.relay_mbit or 0.0,
    )
    return PrivateTor(
        authorities=of("authority"),
        relays=of("guard", "middle", "exit"),
        clients=of("client"),
        state=LAB_DIR / "tor",
        options=options,
        countries={host.place: host.location.country for host in lab.hosts.values()},
        on_event=on_event,
    )
