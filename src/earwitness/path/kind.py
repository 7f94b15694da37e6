"""What is registered of a path: everything that the rest of the program needs to know of it without opening it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Protocol

from earwitness.looks import Look
from earwitness.options import Option

if TYPE_CHECKING:  # a plan is checked and counted without what opens paths, which takes long to import
    from earwitness.path.base import Path
    from earwitness.path.circuit_cache import CircuitCache
    from earwitness.tor.description import TorNetwork

KILL_TUNNEL = "kill-tunnel"
CLOSE_CIRCUIT = "close-circuit"


class PathOptions(Protocol):
    """The options of a call that paths look at; `earwitness.call.plan.CallPlan` has them."""

    @property
    def path_options(self) -> Mapping[str, float]:
        """The path's own options (`PathKind.options`), of which those that were not given are missing."""
        ...

    @property
    def hops(self) -> int:
        """Relays in a circuit of chosen relays."""
        ...

    @property
    def guard(self) -> str | None:
        """The first relay, by nickname, fingerprint, city or country; None: chosen by the seed."""
        ...

    @property
    def middle(self) -> str | None:
        """The relays between, likewise."""
        ...

    @property
    def exit(self) -> str | None:
        """The last relay, likewise."""
        ...

    @property
    def seed(self) -> int:
        """Seed of what is random in the choice of relays."""
        ...

    @property
    def keep_circuit(self) -> bool:
        """Whether the circuit is left standing for the next call."""
        ...

    @property
    def relay_nodelay(self) -> bool | None:
        """Whether relays and clients have TCP_NODELAY set while the path is open; None: as they are."""
        ...

    @property
    def security(self) -> str:
        """How a tunnel is protected, as `earwitness.path.vpn_config.Security` has it."""
        ...

    @property
    def tunnel_nodelay(self) -> bool:
        """TCP_NODELAY on a tunnel's TCP connection."""
        ...

    @property
    def single_onion(self) -> bool:
        """Whether an onion service does not hide where it is."""
        ...


@dataclass(frozen=True)
class Surroundings:
    """What a path is given of the network that it is opened in."""

    scratch: FilePath
    """Directory for its short-lived files."""
    tor: TorNetwork | None = None
    """Whose relays and clients; there is one where the path goes over Tor."""
    kept: CircuitCache | None = None
    """Where circuits that are kept are remembered."""
    bridged: bool = False
    """The caller is in a sandbox without a way out of its own; see `earwitness.path.vpn.VpnPath`."""


@dataclass(frozen=True, kw_only=True)
class TorUse:
    """What a call over a path puts on the Tor network, for plans."""

    relays: int
    """That carry each of its cells."""
    circuits: int = 1
    copies: float = 1.0
    """Of each packet, over all of its circuits."""
    wrapping_bytes: int = 2
    """Around an RTP packet within a stream: the length of RFC 4571, or a tunnel's headers."""


@dataclass(frozen=True, kw_only=True)
class PathKind:
    """A path by name."""

    name: str
    summary: str
    usage: str
    """The name with its own options."""
    build: Callable[[PathOptions, Surroundings], Path]
    """The path for a call with these options, not open yet. Raises `InputError`."""
    look: Look
    looks_by_hops: Mapping[int, Look] = field(default_factory=dict)
    """How it is told from itself with other numbers of hops, for those that have a look of their own."""
    usual_hops: int | None = None
    """With which `look` is meant; None: whatever their number."""
    phrase: str = ""
    """How a sentence on its calls begins: `Without Tor`; empty: `Over`, and the label."""
    options: tuple[Option, ...] = ()
    """Its own, written as `NAME:OPTION=VALUE`."""
    tor: Callable[[PathOptions], TorUse] | None = None
    """What a call puts on the Tor network; None: it does not go over Tor."""
    chooses_relays: bool = False
    """It has a circuit of relays that we choose, by `hops`, `guard`, `middle`, `exit`, and can keep it."""
    single_onion: bool = False
    """It has an onion service, which can be one that does not hide where it is."""
    tor_at_callee: bool = False
    """The callee's own tor carries the call too."""
    faults: tuple[str, ...] = (KILL_TUNNEL,)
    """Faults that it can cause to itself in mid-call."""
    dials_host_address: bool = False
    """The phones call each other at the hosts' own addresses, with nothing between."""
    reaches_own_machine: bool = False
    """With both ends on one machine and no address given, its packets go over the public network all the same."""
    reaches_own_address: bool = False
    """Likewise, where the address is given by which the network reaches this machine."""
    overhead_s: float = 3.2
    """From the end of one call's speech to the start of the next one's, without the tail: start captures and phones,
    open the path, dial, collect. Measured in the lab on 2 idle cores; a study that runs goes by its own calls."""

    def label(self, hops: int | None) -> str:
        """For people: `Tor, 2 hops`, `direct`."""
        return f"{self.look.label}, {hops} hops" if self.usual_hops is not None and hops else self.look.label

    def look_with(self, hops: int | None) -> Look | None:
        """Its look with so many hops; None where it is to be told from the others by what is left."""
        if self.usual_hops is None or hops in (None, self.usual_hops):
            return self.look
        return self.looks_by_hops.get(hops)

    def opening(self, hops: int | None) -> str:
        """How a sentence on its calls begins."""
        with_hops = f" with {hops} hops" if self.usual_hops is not None and hops else ""
        return self.phrase or f"Over {self.look.label}{with_hops}"
