"""The registry entry of a path: what the rest of the program needs to know without opening it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Protocol

from earwitness.looks import Look
from earwitness.options import Option

if TYPE_CHECKING:  # checking a plan must not import the code that opens paths, which is slow to load
    from earwitness.path.base import Path
    from earwitness.path.circuit_cache import CircuitCache
    from earwitness.tor.description import TorNetwork

KILL_TUNNEL = "kill-tunnel"
CLOSE_CIRCUIT = "close-circuit"


class PathOptions(Protocol):
    """The options of a call that paths use; `earwitness.call.plan.CallPlan` provides them."""

    @property
    def path_options(self) -> Mapping[str, float]:
        """The path's own options (`PathKind.options`); those not given are absent."""
        ...

    @property
    def hops(self) -> int:
        """Relays in a circuit of chosen relays."""
        ...

    @property
    def guard(self) -> str | None:
        """The first relay, by nickname, fingerprint, city or country; None: chosen at random from the seed."""
        ...

    @property
    def middle(self) -> str | None:
        """The inner relays, likewise."""
        ...

    @property
    def exit(self) -> str | None:
        """The last relay, likewise."""
        ...

    @property
    def seed(self) -> int:
        """Seed of the random choice of relays."""
        ...

    @property
    def keep_circuit(self) -> bool:
        """Whether to keep the circuit for the next call."""
        ...

    @property
    def relay_nodelay(self) -> bool | None:
        """Whether relays and clients set TCP_NODELAY while the path is open; None: unchanged."""
        ...

    @property
    def security(self) -> str:
        """Protection of a tunnel, a value of `earwitness.path.vpn_config.Security`."""
        ...

    @property
    def tunnel_nodelay(self) -> bool:
        """TCP_NODELAY on a tunnel's TCP connection."""
        ...

    @property
    def single_onion(self) -> bool:
        """Whether the onion service is a single one, which does not hide its location."""
        ...


@dataclass(frozen=True)
class Surroundings:
    """What a network provides to the paths that are opened in it."""

    scratch: FilePath
    """Directory for temporary files."""
    tor: TorNetwork | None = None
    """The Tor network; required by a path over Tor."""
    kept: CircuitCache | None = None
    """Cache of kept circuits."""
    bridged: bool = False
    """The caller is in a sandbox that has no route to the network; see `earwitness.path.vpn.VpnPath`."""


@dataclass(frozen=True, kw_only=True)
class TorUse:
    """The load that a call over a path puts on the Tor network, for plans."""

    relays: int
    """Relays that carry each of its cells."""
    circuits: int = 1
    copies: float = 1.0
    """Copies of each packet, over all of its circuits."""
    wrapping_bytes: int = 2
    """Bytes added to an RTP packet in a stream: the length field of RFC 4571, or a tunnel's headers."""


@dataclass(frozen=True, kw_only=True)
class PathKind:
    """A path by name."""

    name: str
    summary: str
    usage: str
    """The name, with the path's own options if there are any."""
    build: Callable[[PathOptions, Surroundings], Path]
    """The path for a call with these options, not yet open. Raises `InputError`."""
    look: Look
    looks_by_hops: Mapping[int, Look] = field(default_factory=dict)
    """Looks that distinguish numbers of hops in charts, for the numbers that have one."""
    usual_hops: int | None = None
    """The number of hops that `look` stands for; None: any number."""
    phrase: str = ""
    """Start of a sentence about its calls, such as `Without Tor`; empty: `Over` and the label."""
    options: tuple[Option, ...] = ()
    """The path's own options, written as `NAME:OPTION=VALUE`."""
    tor: Callable[[PathOptions], TorUse] | None = None
    """Load of a call on the Tor network; None: the path does not use Tor."""
    chooses_relays: bool = False
    """Earwitness chooses the relays of its circuit, by `hops`, `guard`, `middle`, `exit`, and can keep the circuit."""
    single_onion: bool = False
    """It has an onion service, which can be a single one that does not hide its location."""
    tor_at_callee: bool = False
    """The callee's tor also carries the call."""
    faults: tuple[str, ...] = (KILL_TUNNEL,)
    """Faults that can be injected into it during a call."""
    dials_host_address: bool = False
    """The phones call each other directly at the hosts' own addresses."""
    reaches_own_machine: bool = False
    """Its packets use the public network even if both ends are on one machine and no address is given."""
    reaches_own_address: bool = False
    """Likewise, if this machine's address as seen from the network is given."""
    overhead_s: float = 3.2
    """Time between the speech of two consecutive calls, without the tail: start captures and phones, open the path,
    dial, collect. Measured in the lab on 2 idle cores; a running study uses the times of its own calls."""

    def label(self, hops: int | None) -> str:
        """Text for readers: `Tor, 2 hops`, `direct`."""
        return f"{self.look.label}, {hops} hops" if self.usual_hops is not None and hops else self.look.label

    def look_with(self, hops: int | None) -> Look | None:
        """Its look for this number of hops; None: it has none of its own, and takes one of those left over."""
        if self.usual_hops is None or hops in (None, self.usual_hops):
            return self.look
        return self.looks_by_hops.get(hops)

    def opening(self, hops: int | None) -> str:
        """Start of a sentence about its calls."""
        with_hops = f" with {hops} hops" if self.usual_hops is not None and hops else ""
        return self.phrase or f"Over {self.look.label}{with_hops}"
