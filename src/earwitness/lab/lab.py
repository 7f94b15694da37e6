"""The lab: hosts in cities, the emulator between them, and the private Tor network on top.

    async with Lab.started(LabPlan()) as lab:
        lab.host("caller").popen([...])

runs inside a sandbox only (`earwitness.lab.sandbox`); commands use `earwitness.lab.session`, which sees to that and
joins a lab that is up.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earwitness.errors import EarwitnessError
from earwitness.lab.emulator_control import SOCKET_NAME, EmulatorClient
from earwitness.lab.geography import place
from earwitness.lab.namespace import NamespaceHost, create_host, start_owned
from earwitness.lab.plan import LabPlan
from earwitness.lab.sandbox import STATE_DIR, in_sandbox
from earwitness.lab.wan import LinkProfile

if TYPE_CHECKING:
    pass

LAB_DIR = STATE_DIR / "lab"
"""One lab a sandbox; everything of it is here."""

Progress = Callable[[str], None]
_EMULATOR_START_S = 10.0


class Lab:
    """A lab that runs. Made by `started`."""

    def __init__(self, plan: LabPlan, state_dir: Path, emulator: EmulatorClient) -> None:
        self.plan = plan
        self.state_dir = state_dir
        self.hosts: dict[str, NamespaceHost] = {}
        self.emulator = emulator
        self.tor: Any = None

    @classmethod
    @contextlib.asynccontextmanager
    async def started(cls, plan: LabPlan, progress: Progress = lambda _: None) -> AsyncIterator[Lab]:
        """Start a lab, and end it on leaving.

        Raises:
            EarwitnessError: not in a sandbox, or a part did not start.
        """
        if not in_sandbox():
            raise EarwitnessError("starting", "a lab", "not inside a sandbox", "use earwitness.lab.session")
        with _running_emulator(plan.seed, LAB_DIR) as client:
            lab = cls(plan, LAB_DIR, client)
            lab._add_hosts()
            progress(f"{len(lab.hosts)} hosts joined by the emulator")
            yield lab

    def host(self, name: str) -> NamespaceHost:
        """The host of that name: caller, callee, server, authority1, relay1 ...

        Raises:
            EarwitnessError: there is none.
        """
        if name not in self.hosts:
            raise EarwitnessError("finding host", name, "not in this lab", f"choose of {', '.join(self.hosts)}")
        return self.hosts[name]

    def place_host(self, name: str, city: str) -> None:
        """Move a host to another city: its links' delays change from the next packet on."""
        self.host(name).place = str(place(city))
        self._set_links(lambda source, destination: name in (source, destination))

    def set_link(self, source: str, destination: str, profile: LinkProfile) -> None:
        """Change one direction between two hosts, from the next packet on."""
        self.emulator.set_links([(self.host(source).number, self.host(destination).number, profile)])

    def _add_hosts(self) -> None:
        for number, planned in enumerate(self.plan.hosts(), 1):
            host, device = create_host(planned.name, planned.place, f"10.77.{number}.1", number)
            try:
                self.emulator.add_host(number, host.name, host.address, device)
            finally:
                os.close(device)
            self.hosts[host.name] = host
        self._set_links(lambda source, destination: True)

    def _set_links(self, wanted: Callable[[str, str], bool]) -> None:
        cities = {host.name: host.place for host in self.hosts.values()}
        self.emulator.set_links(
            (self.hosts[source].number, self.hosts[destination].number, profile)
            for source, destination, profile in self.plan.links_between(cities)
            if wanted(source, destination)
        )


@contextlib.contextmanager
def _running_emulator(seed: int, state_dir: Path) -> Iterator[EmulatorClient]:
    state_dir.mkdir(parents=True)
    log = state_dir / "emulator.log"
    with log.open("wb") as log_file:
        process = start_owned(
            [sys.executable, "-m", "earwitness.lab.emulator", str(state_dir), str(seed)],
            stdin=subprocess.DEVNULL,
            stdout=log_file,
            stderr=log_file,
        )
    try:
        deadline = time.monotonic() + _EMULATOR_START_S
        while not (state_dir / SOCKET_NAME).exists():
            if process.poll() is not None or time.monotonic() > deadline:
                last = (log.read_text(errors="replace").strip().splitlines() or ["no output"])[-1]
                raise EarwitnessError("starting", "the network emulator", last, "report this")
            time.sleep(0.005)
        client = EmulatorClient(state_dir)
        try:
            yield client
        finally:
            with contextlib.suppress(EarwitnessError, subprocess.TimeoutExpired):
                client.stop()
                process.wait(3)
            client.close()
    finally:
        process.kill()
        process.wait()
