"""What a call is asked to be: the options of `earwitness call`, as one value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from earwitness import options
from earwitness.archive.schema import MOST_SCORES, is_scores
from earwitness.errors import InputError
from earwitness.lab.load.spec import LoadSpec
from earwitness.path.kind import CLOSE_CIRCUIT, KILL_TUNNEL, PathKind, TorUse
from earwitness.path.probe import MOST_PROBES
from earwitness.path.registry import path_kind
from earwitness.phone.kind import PhoneKind
from earwitness.phone.registry import PHONES

SECURITIES = ("none", "static", "tls")
"""Of a tunnel, as `earwitness.path.vpn_config.Security` has them."""

LAB_SERVER = "lab"
"""`CallPlan.sip_server`: Kamailio, started for the call."""

_LAB_INJECTIONS = ("callee-absent", "exit-refuses", "port-taken", "kill-guard", "kill-middle", "kill-exit")
PATH_INJECTIONS = (KILL_TUNNEL, CLOSE_CIRCUIT)
"""Those that a path does to itself, in mid-call."""
INJECTIONS = (*_LAB_INJECTIONS, *PATH_INJECTIONS)
"""Faults that the lab can cause on purpose, so that the instrument itself can be checked."""


def sip_address(server: str) -> tuple[str, int]:
    """Host and port of `CallPlan.sip_server`, where it is the user's own. `InputError` where it cannot be read."""
    host, _, port = server.partition(":")
    if not host or not (port or "5060").isdecimal() or not 0 < int(port or 5060) < 65536:
        raise InputError(
            "registering at the SIP server", server, "not HOST or HOST:PORT", "give such as 192.0.2.7:5060"
        )
    return host, int(port or 5060)


@dataclass(frozen=True)
class Injection:
    """A fault caused on purpose, in the lab only."""

    what: str
    after_s: float = 0.0
    """Seconds of media before it strikes, where it strikes in mid-call."""

    @staticmethod
    def parse(text: str) -> Injection:
        """Read `what` or `what@SECONDS`."""
        match = re.fullmatch(r"([a-z-]+)(?:@(\d+(?:\.\d+)?))?", text)
        if match is None or match[1] not in INJECTIONS:
            raise InputError(
                "injecting", text, "no such fault", f"choose of {', '.join(INJECTIONS)}, @SECONDS after it"
            )
        return Injection(match[1], float(match[2] or 3.0))

    @property
    def kills_a_relay(self) -> bool:
        """Whether the lab is not the same afterwards."""
        return self.what in ("kill-guard", "kill-middle", "kill-exit")


@dataclass(frozen=True, kw_only=True)
class InStudy:
    """Which call of a study this is (`earwitness.study.design`)."""

    study: str
    block: str
    """Repeat and number of the block: calls of one block differ in nothing but what the study compares."""
    arm: str
    """Name of the path among those compared, as the study file calls it."""
    attempt: int = 1


@dataclass(frozen=True, kw_only=True)
class CallPlan:
    """One call to place. Two plans that are equal but for `path` and its options differ in one thing only."""

    path: str = "tor"
    """As `earwitness.path.registry.path_kind` reads it: a name, and the path's own options after a colon."""
    hops: int = 3
    """Relays in the circuit, where the path has one."""
    guard: str | None = None
    middle: str | None = None
    exit: str | None = None
    """Relays by nickname, fingerprint or city; None: chosen by the seed."""
    codec: str = "g711u"
    """As `earwitness.speech.codecs.registry.codec` reads it."""
    from_place: str = "Frankfurt"
    to_place: str = "New York"
    """Cities of the caller and the callee (two of the published study's places)."""
    speech: str = ""
    """Name of a shipped reference or a WAV file; empty: the default one."""
    seconds: float | None = None
    """How long to speak; None: the speech once. Longer than the speech: it is looped."""
    silence_suppression: bool = False
    """Send nothing in pauses, as the published study's phones did."""
    buffer: str = ""
    """Jitter buffer that renders the audio; empty: the default one."""
    concealment: str = ""
    """What fills a missing frame; empty: the buffer's own or the codec's."""
    scorers: tuple[str, ...] = ()
    """Scorers besides the usual ones, as `earwitness.score.scorers.scorer` reads them."""
    phone: str = "builtin"
    """Which phone both ends have: the built-in one, a real softphone (Debian's linphonec), or the user's own."""
    wait_s: float = 120.0
    """How long to wait for media of the user's own phones."""
    relay_nodelay: bool | None = None
    """Whether the lab's relays and clients have TCP_NODELAY set during the call; None: as the lab has it (tor: off)."""
    keep_circuit: bool = False
    """Leave the circuit standing after the call, and use the one that an earlier call left, whatever its seed."""
    security: str = "tls"
    """How a tunnel is protected, where the path has one."""
    tunnel_nodelay: bool = True
    """TCP_NODELAY on a tunnel's TCP connection, where the path has one."""
    single_onion: bool = False
    """An onion path's service does not hide where it is: one relay, the rendezvous point, fewer hops on its side."""
    rtt_probes: int = 3
    """Datagrams sent to and fro before the call, for the path's round-trip time; 0: none."""
    throughput: bool = False
    """Measure what the path carries each way, after the call."""
    sip_server: str | None = None
    """`lab` (Kamailio, started for the run) or HOST[:PORT]; None: the phones call each other."""
    sip_accounts: str = ""
    """File with both ends' accounts at the SIP server; empty: they are in the environment."""
    sip_relay: bool = False
    """Have the lab's SIP server relay the media (rtpengine) instead of phone to phone."""
    seed: int = 1
    link: str = ""
    """Impairments on top of geography, between caller and callee, as `earwitness.emulator.link_profile` reads them."""
    load: str = ""
    """Background traffic in the lab during the call (`earwitness.lab.load.spec`); empty: as the lab has it."""
    relay_mbit: float | None = None
    """Bound on the rate of each of the lab's relays, Mbit/s; 0: none. None: 2 where a load is asked for, else as the
    lab has it."""
    tail_s: float = 1.5
    """Seconds the call is kept after the last word, so that late packets still come in."""
    inject: Injection | None = None
    study: InStudy | None = None

    def __post_init__(self) -> None:
        kind, _ = self.path_kind, self.path_options
        if self.phone_kind.by_hand and (self.sip_server or self.inject or self.study):
            asked = "a SIP server" if self.sip_server else "a fault on purpose" if self.inject else "a study"
            raise InputError("calling by hand with", asked, "it needs phones that we drive", "choose another phone")
        if not 1 <= self.wait_s <= 3600:
            raise InputError("waiting for phones", f"{self.wait_s:g} s", "too long or too short", "give 1 to 3600")
        if self.keep_circuit and self.over_tor and not kind.chooses_relays:
            raise InputError("keeping the circuit of", self.path, "tor chooses it", "omit --keep-circuit")
        what = self.inject.what if self.inject else ""
        if what in PATH_INJECTIONS and what not in kind.faults:
            raise InputError("injecting", what, f"the path {self.path} has none", "choose another path, or fault")
        if self.security not in SECURITIES:
            raise InputError(
                "securing a tunnel with", self.security, "no such security", f"choose of {', '.join(SECURITIES)}"
            )
        if self.single_onion and not kind.single_onion:
            raise InputError("planning a single onion service over", self.path, "it has none", "use --path onion")
        if not 0 <= self.rtt_probes <= MOST_PROBES:
            remedy = f"give 0 to {MOST_PROBES}"
            raise InputError("probing the path with", self.rtt_probes, "too many or too few", remedy)
        if self.sip_server:
            sip_address(self.sip_server)
        if self.sip_accounts and not self.sip_server:
            raise InputError("registering with", self.sip_accounts, "at which SIP server?", "add --sip-server")
        if self.sip_relay and self.sip_server != LAB_SERVER:
            raise InputError(
                "planning a call with", "relayed media", "only the lab's SIP server can", "add --sip-server lab"
            )
        if not 2 <= self.hops <= 8:
            raise InputError("planning a circuit of", f"{self.hops} hops", "tor carries 2 to 8", "give --hops 2 to 8")
        if self.load_spec and self.phone_kind.by_hand:
            remedy = "run `earwitness lab up --load` instead"
            raise InputError("calling by hand with", "a load of the call's own", "it takes no part in the lab", remedy)
        if self.seconds is not None and not 4.0 <= self.seconds <= 3600.0:
            raise InputError(
                "planning a call of",
                f"{self.seconds:g} s",
                "PESQ needs about 4 s of speech",
                "give --seconds 4 to 3600",
            )

    def check(self) -> None:
        """Raise `InputError` for a codec, a buffer, a concealment or a scorer that does not exist."""
        from earwitness.ear import CONCEALMENTS, buffer
        from earwitness.score.scorers import scorer
        from earwitness.speech.codecs.registry import codec

        codec(self.codec)
        for name in self.scorers:
            if (kind := scorer(name)).column == "" and not is_scores({kind.name: 0.0}):
                raise InputError("scoring with", name, "a column of every call has this name", "rename the scorer")
        if len(self.scorers) > MOST_SCORES:
            raise InputError("scoring with", f"{len(self.scorers)} scorers", "too many", f"name {MOST_SCORES} at most")
        if self.buffer:
            buffer(self.buffer)
        if self.concealment and self.concealment not in CONCEALMENTS:
            raise InputError(
                "concealing with", self.concealment, "no such concealment", f"choose of {', '.join(CONCEALMENTS)}"
            )

    @property
    def load_spec(self) -> LoadSpec:
        """The background traffic that the call brings with it. Raises `InputError` for what is none."""
        return LoadSpec.parse(self.load)

    @property
    def title(self) -> str:
        """For a person: path, hops and codec."""
        hops = f" {self.hops} hops" if self.chooses_relays else ""
        return f"{self.path}{hops}, {self.codec}"

    @property
    def path_kind(self) -> PathKind:
        """What is registered of the path. Raises `InputError`."""
        return path_kind(self.path)

    @property
    def path_options(self) -> Mapping[str, float]:
        """The path's own options, by name. Raises `InputError`."""
        kind = self.path_kind
        return options.parse("planning a call over", self.path, kind.options, f"use {kind.usage}")

    @property
    def phone_kind(self) -> PhoneKind:
        """What is registered of the phone. Raises `InputError`."""
        return PHONES.get(self.phone, "planning a call with")

    @property
    def tor_use(self) -> TorUse | None:
        """What the call puts on the Tor network; None where its path does not go over Tor."""
        uses = self.path_kind.tor
        return None if uses is None else uses(self)

    @property
    def over_tor(self) -> bool:
        """Whether the path has a Tor circuit."""
        return self.path_kind.tor is not None

    @property
    def chooses_relays(self) -> bool:
        """Whether the path's circuit is one that we choose; of an onion path's six relays tor chooses all."""
        return self.path_kind.chooses_relays

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CallPlan:
        """The inverse of `to_dict`; unknown keys are an InputError."""
        known = {field.name for field in fields(cls)}
        if extra := sorted(set(values) - known):
            raise InputError("reading the plan of a call with", ", ".join(extra), "no such options", "leave them out")
        given = dict(values)
        if given.get("inject"):
            given["inject"] = Injection(**given["inject"])
        if given.get("study"):
            given["study"] = InStudy(**given["study"])
        given["scorers"] = tuple(given.get("scorers", ()))
        return cls(**given)
