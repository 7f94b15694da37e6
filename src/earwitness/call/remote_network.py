"""Two machines as the network of a call: this one, and one that runs `earwitness answer`; outside the lab."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from pathlib import Path as FilePath

from earwitness.call.measurement_point import LocalMeasurementPoint, MeasurementPoint
from earwitness.call.paths import path_of
from earwitness.call.placed_call import CALL_CLOCK
from earwitness.call.plan import CallPlan
from earwitness.call.public_network import Politeness
from earwitness.capture.live import epoch_offset_ns
from earwitness.errors import CallFailure, EarwitnessError, InputError
from earwitness.netns.egress import in_isolated_network
from earwitness.netns.host import Host
from earwitness.path.base import OpenPath, Path, PhonePorts
from earwitness.phone.base import Phones
from earwitness.phone.linphone import Linphones
from earwitness.remote.certificates import Invitation
from earwitness.remote.client import RemoteClient
from earwitness.remote.endpoint import RemoteMachine, RemoteMeasurementPoint
from earwitness.remote.machine import Machine, interface_of
from earwitness.tor.description import TorNetwork

CALLER = "caller"


class RemoteNetwork:
    """Calls from this machine to another, each in a separate session.

    Args:
        address: host and port of the other machine's `earwitness answer`.
        invitation: the invitation that it wrote.
        scratch: directory for temporary files, created when a program needs one.
        tor: the network for paths over Tor, whose client named `CALLER` is this machine's.
        politeness: limits calls over Tor; None if the Tor network is private.
        one_clock_ns: if both ends are this machine, the clock of both minus CLOCK_MONOTONIC.
        also_at: another address at which the other machine accepts streams, if known.
    """

    name = "public"
    lab_facts = None

    def __init__(
        self,
        address: tuple[str, int],
        invitation: Invitation,
        scratch: FilePath,
        *,
        tor: TorNetwork | None = None,
        politeness: Politeness | None = None,
        one_clock_ns: int | None = None,
        also_at: str = "",
    ) -> None:
        self.scratch = scratch
        self._address, self._invitation = address, invitation
        self._tor, self._politeness = tor, politeness
        self._one_clock_ns, self._also_at = one_clock_ns, also_at
        self._remote: RemoteClient | None = None
        self._callee: RemoteMachine | None = None

    def epoch_offset_ns(self) -> int:
        """Read anew for each call; fixed if both ends are one machine."""
        return epoch_offset_ns() if self._one_clock_ns is None else self._one_clock_ns

    @asynccontextmanager
    async def turn(self, call_id: str, plan: CallPlan) -> AsyncIterator[None]:
        """A session with the other machine, and a turn on the public Tor network if the call uses it.

        Raises `CallFailure` (`REMOTE_REFUSED`, `REMOTE_LOST`), and `InputError` for options that need the lab.
        """
        self.check(plan)
        async with AsyncExitStack() as stack:
            stack.enter_context(self._politeness.turn() if self._politeness and plan.over_tor else nullcontext())
            remote = await stack.enter_async_context(
                RemoteClient.connect(self._address, self._invitation, self._also_at)
            )
            await remote.ask("begin", call_id=call_id)
            self._remote = remote
            yield

    @property
    def remote(self) -> RemoteClient:
        """The session with the other machine, during the turn of a call and after it."""
        if self._remote is None:
            raise EarwitnessError("using the session of", self._address[0], "no call is on", "report this as a bug")
        return self._remote

    def failure(self) -> CallFailure | None:
        """Why the session with the other machine was given up; None while it stands."""
        return self._remote.lost if self._remote else None

    def hosts(self, plan: CallPlan) -> tuple[Host, RemoteMachine]:
        """This machine and the other. Raises `CallFailure` if the other gives an address that is not allowed."""
        here, there = self.remote.local_address, self.remote.hello
        if plan.path_kind.dials_host_address:
            self.remote.check_address("phones", there.address)
        caller = Machine(CALLER, plan.from_place, here, "" if in_isolated_network() else interface_of(here))
        self._callee = RemoteMachine(self.remote, there.name, there.place, there.address, there.interface)
        return caller, self._callee

    def path(self, plan: CallPlan) -> Path:
        """The path that the plan requests."""
        return path_of(plan, self._tor, self.scratch, bridged=in_isolated_network())

    def measurement_points(
        self, opened: OpenPath, kind: Phones, epoch_offset_ns: int
    ) -> Mapping[str, MeasurementPoint]:
        """The caller's end here, the callee's at the other machine."""
        here, there = opened.caller, self._callee
        assert there is not None, "the callee's host is set when the path is opened"
        # A real machine's device carries more than the call.
        ports = PhonePorts().all if here.interface == here.host.interface else ()
        recordings = kind.recordings if isinstance(kind, Linphones) else None
        clock = CALL_CLOCK if self._one_clock_ns is not None else "callee"
        return {
            "caller": LocalMeasurementPoint(here, kind, epoch_offset_ns, ports),
            "callee": RemoteMeasurementPoint(there, opened.callee, clock, recordings),
        }

    def versions(self) -> Mapping[str, str]:
        """Versions of the other machine's programs."""
        versions = self._remote.hello.versions if self._remote else {}
        there = {f"callee_{name}": version for name, version in versions.items()}
        return {**there, **({"tor": self._tor.name} if self._tor else {})}

    @staticmethod
    def check(plan: CallPlan) -> None:
        """Refuse options that two machines cannot provide, before anything is opened."""
        for field, asked, what, remedy in (
            (
                "phone",
                not plan.phone_kind.at_other_machine,
                "phones run by hand" if plan.phone_kind.by_hand else f"the phone {plan.phone}",
                "choose builtin or linphone as {phone}",
            ),
            ("single_onion", plan.single_onion, "a single onion service", "leave out {single_onion}"),
            ("inject", plan.inject is not None, "a fault on purpose", "leave out {inject}"),
            ("link", plan.link != "", "impaired links", "leave out {link}"),
            ("keep_circuit", plan.keep_circuit, "a kept circuit", "leave out {keep_circuit}"),
            ("load", bool(plan.load_spec), "a load", "leave out {load}"),
            ("relay_mbit", plan.relay_mbit is not None, "bounds on relays", "leave out {relay_mbit}"),
            ("relay_nodelay", plan.relay_nodelay is not None, "TCP_NODELAY on relays", "leave out {relay_nodelay}"),
            (
                "path",
                plan.path_kind.dials_host_address and in_isolated_network(),
                f"the {plan.path} path without root",
                "run as root, or with CAP_NET_ADMIN and CAP_NET_RAW; other paths need neither",
            ),
        ):
            if asked:
                raise InputError(
                    "placing a call between two machines with", what, "only the lab can", remedy, field=field
                )
