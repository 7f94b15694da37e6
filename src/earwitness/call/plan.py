"""The plan of a call: the options of `earwitness call` as one value."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from earwitness import options
from earwitness.archive.schema import MOST_SCORES, is_scores
from earwitness.errors import InputError, naming_field
from earwitness.lab.load.spec import LEAST_RELAY_MBIT, LoadSpec
from earwitness.path.kind import CLOSE_CIRCUIT, KILL_TUNNEL, PathKind, TorUse
from earwitness.path.probe import MOST_PROBES
from earwitness.path.registry import path_kind
from earwitness.phone.kind import PhoneKind
from earwitness.phone.registry import PHONES

SECURITIES = ("none", "static", "tls")
"""Protections of a tunnel, the values of `earwitness.path.vpn_config.Security`."""

LAB_SERVER = "lab"
"""Value of `CallPlan.sip_server` for Kamailio, started for the call."""

_LAB_INJECTIONS = ("callee-absent", "exit-refuses", "port-taken", "kill-guard", "kill-middle", "kill-exit")
PATH_INJECTIONS = (KILL_TUNNEL, CLOSE_CIRCUIT)
"""Faults injected into a path during the call."""
INJECTIONS = (*_LAB_INJECTIONS, *PATH_INJECTIONS)
"""Faults that the lab can inject, to check the instrument itself."""


def sip_address(server: str) -> tuple[str, int]:
    """Host and port of `CallPlan.sip_server` if it is the user's own. Raises `InputError` if it cannot be parsed."""
    host, _, port = server.partition(":")
    if not host or not (port or "5060").isdecimal() or not 0 < int(port or 5060) < 65536:
        remedy = "write it as in 192.0.2.7:5060"
        raise InputError("registering at the SIP server", server, "not HOST or HOST:PORT", remedy, field="sip_server")
    return host, int(port or 5060)


@dataclass(frozen=True)
class Injection:
    """A fault to inject, in the lab only."""

    what: str
    after_s: float = 0.0
    """Seconds of media before it is injected, for a fault during the call."""

    @staticmethod
    def parse(text: str) -> Injection:
        """Parse `what` or `what@SECONDS`."""
        match = re.fullmatch(r"([a-z-]+)(?:@(\d+(?:\.\d+)?))?", text)
        if match is None or match[1] not in INJECTIONS:
            remedy = f"choose one of {', '.join(INJECTIONS)}, with @SECONDS after it"
            raise InputError("injecting", text, "no such fault", remedy, field="inject")
        return Injection(match[1], float(match[2] or 3.0))

    @property
    def kills_a_relay(self) -> bool:
        """Whether the lab remains damaged afterwards."""
        return self.what in ("kill-guard", "kill-middle", "kill-exit")


@dataclass(frozen=True, kw_only=True)
class InStudy:
    """The place of a call in a study (`earwitness.study.design`)."""

    study: str
    block: str
    """Repeat and number of the block: its calls differ only in what the study compares."""
    arm: str
    """Name of the path in the study file."""
    attempt: int = 1


@dataclass(frozen=True, kw_only=True)
class CallPlan:
    """One call to place. Plans that differ only in `path` and its options compare two paths under equal conditions."""

    path: str = "tor"
    """As parsed by `earwitness.path.registry.path_kind`: a name, then the path's own options after a colon."""
    hops: int = 3
    """Relays in the circuit, if the path has one."""
    guard: str | None = None
    middle: str | None = None
    exit: str | None = None
    """Relays by nickname, fingerprint or city; None: chosen at random from the seed."""
    codec: str = "g711u"
    """As parsed by `earwitness.speech.codecs.registry.codec`."""
    from_place: str = "Frankfurt"
    to_place: str = "New York"
    """Cities of the caller and the callee (two of the published study's places)."""
    speech: str = ""
    """Name of a shipped reference or a WAV file; empty: the default one."""
    seconds: float | None = None
    """How long to speak; None: the speech once. If longer than the speech, it is repeated."""
    silence_suppression: bool = False
    """Send nothing in pauses, as the published study's phones did."""
    buffer: str = ""
    """Jitter buffer that renders the audio; empty: the default."""
    concealment: str = ""
    """Concealment method for missing frames; empty: the buffer's or the codec's own."""
    scorers: tuple[str, ...] = ()
    """Additional scorers, as parsed by `earwitness.score.scorers.scorer`."""
    phone: str = "builtin"
    """The phone at both ends: the built-in one, a real softphone (Debian's linphonec), or the user's own."""
    wait_s: float = 120.0
    """How long to wait for media from the user's own phones."""
    relay_nodelay: bool | None = None
    """Whether the lab's relays and clients set TCP_NODELAY during the call; None: the lab's setting (tor: off)."""
    keep_circuit: bool = False
    """Keep the circuit after the call, and use the one that an earlier call kept, whatever its seed."""
    security: str = "tls"
    """Protection of the tunnel, if the path has one."""
    tunnel_nodelay: bool = True
    """TCP_NODELAY on the tunnel's TCP connection, if the path has one."""
    single_onion: bool = False
    """Use a single onion service, which does not hide its location: it connects directly to the rendezvous point."""
    rtt_probes: int = 3
    """Probes of the path's round-trip time before the call; 0: none."""
    throughput: bool = False
    """Measure the path's throughput in both directions after the call."""
    sip_server: str | None = None
    """`lab` (Kamailio, started for the run) or HOST[:PORT]; None: the phones call each other."""
    sip_accounts: str = ""
    """File with both ends' accounts at the SIP server; empty: taken from the environment."""
    sip_relay: bool = False
    """Have the lab's SIP server relay the media (rtpengine), rather than send it from phone to phone."""
    seed: int = 1
    link: str = ""
    """Impairments between caller and callee besides distance, as parsed by `earwitness.emulator.link_profile`."""
    load: str = ""
    """Background traffic in the lab during the call (`earwitness.lab.load.spec`); empty: the lab's setting."""
    relay_mbit: float | None = None
    """Bound on the rate of each of the lab's relays, Mbit/s; 0: none. None: 2 if a load is requested, otherwise the
    lab's setting."""
    tail_s: float = 1.5
    """Seconds from the end of the speech to hanging up, so that late packets still arrive."""
    inject: Injection | None = None
    study: InStudy | None = None

    def __post_init__(self) -> None:
        with naming_field("path"):
            kind, _ = self.path_kind, self.path_options
        with naming_field("phone"):
            by_hand = self.phone_kind.by_hand
        _require_one_of("security", self.security, SECURITIES, "securing a tunnel with", "unknown value")
        _require_range("wait_s", self.wait_s, 1, 3600, "waiting for phones", "s")
        _require_range("rtt_probes", self.rtt_probes, 0, MOST_PROBES, "probing the path with", "probes")
        _require_range("hops", self.hops, 2, 8, "planning a circuit of", "hops", "Tor carries 2 to 8")
        _require_range("tail_s", self.tail_s, 0, 3600, "keeping the call after the last word for", "s")
        if self.seconds is not None:
            _require_range(
                "seconds", self.seconds, 4, 3600, "planning a call of", "s", "PESQ needs about 4 s of speech"
            )
        if self.relay_mbit:
            _require_range("relay_mbit", self.relay_mbit, LEAST_RELAY_MBIT, 10_000, "bounding relays to", "Mbit/s")
        with naming_field("load"):
            LoadSpec.parse(self.load)
        self._require_path_has_what_is_asked(kind)
        self._require_sip_options_agree()
        if by_hand:
            self._require_phones_by_hand_possible()

    def _require_path_has_what_is_asked(self, kind: PathKind) -> None:
        if self.keep_circuit and self.over_tor and not kind.chooses_relays:
            raise InputError(
                "keeping the circuit of", self.path, "tor chooses it", "leave out {keep_circuit}", field="keep_circuit"
            )
        if self.single_onion and not kind.single_onion:
            happened, remedy = "it has no such service", "set {path} to onion, or leave out {single_onion}"
            tried = "planning a single onion service over"
            raise InputError(tried, self.path, happened, remedy, field="single_onion", related=("path",))
        what = self.inject.what if self.inject else ""
        if what in PATH_INJECTIONS and what not in kind.faults:
            happened = f"the path {self.path} has no {'tunnel' if what == KILL_TUNNEL else 'circuit'}"
            raise InputError(
                "injecting", what, happened, "choose another {path}, or fault", field="inject", related=("path",)
            )

    def _require_sip_options_agree(self) -> None:
        if self.sip_server:
            sip_address(self.sip_server)
        if self.sip_accounts and not self.sip_server:
            happened, remedy = "there is no SIP server to register at", "name one with {sip_server}"
            raise InputError(
                "registering with", self.sip_accounts, happened, remedy, field="sip_accounts", related=("sip_server",)
            )
        if self.sip_relay and self.sip_server != LAB_SERVER:
            happened, remedy = "only the lab's SIP server relays", "set {sip_server} to lab"
            raise InputError(
                "planning a call with", "relayed media", happened, remedy, field="sip_relay", related=("sip_server",)
            )

    def _require_phones_by_hand_possible(self) -> None:
        for asked, what in (
            (self.sip_server, "a SIP server"),
            (self.inject, "a fault on purpose"),
            (self.study, "a study"),
        ):
            if asked:
                remedy = "choose another {phone}"
                raise InputError("calling by hand with", what, "it needs phones that we drive", remedy, field="phone")
        if self.load_spec:
            happened = "the lab must be running before such a call"
            remedy = "start the lab with the load (`earwitness lab up`), and leave out {load}"
            raise InputError("calling by hand with", "a load of the call's own", happened, remedy, field="load")

    def check(self) -> None:
        """The slower checks: raise `InputError` for an invalid codec, buffer, concealment method, scorer or link."""
        from earwitness.ear import CONCEALMENTS, buffer
        from earwitness.emulator.link_profile import LinkProfile
        from earwitness.score.scorers import scorer
        from earwitness.speech.codecs.native import CodecLibraryMissing
        from earwitness.speech.codecs.registry import codec

        with naming_field("codec"):
            chosen = codec(self.codec)
            try:
                for half in (chosen.decoder, chosen.encoder):
                    half()
            except CodecLibraryMissing as missing:
                raise InputError("calling with the codec", self.codec, missing.happened, missing.remedy) from missing
        with naming_field("scorers"):
            for name in self.scorers:
                if (kind := scorer(name)).column == "" and not is_scores({kind.name: 0.0}):
                    raise InputError("scoring with", name, "a column of every call has this name", "rename the scorer")
            if len(self.scorers) > MOST_SCORES:
                happened, remedy = "too many", f"give at most {MOST_SCORES}"
                raise InputError("scoring with", f"{len(self.scorers)} scorers", happened, remedy)
        if self.buffer:
            with naming_field("buffer"):
                buffer(self.buffer)
        if self.concealment:
            _require_one_of("concealment", self.concealment, CONCEALMENTS, "concealing with", "no such concealment")
        with naming_field("link"):
            LinkProfile().with_spec(self.link)

    @property
    def load_spec(self) -> LoadSpec:
        """The call's own background traffic. Raises `InputError` if it cannot be parsed."""
        return LoadSpec.parse(self.load)

    @property
    def title(self) -> str:
        """Text for readers: path, hops and codec."""
        hops = f" {self.hops} hops" if self.chooses_relays else ""
        return f"{self.path}{hops}, {self.codec}"

    @property
    def path_kind(self) -> PathKind:
        """The path's registry entry. Raises `InputError`."""
        return path_kind(self.path)

    @property
    def path_options(self) -> Mapping[str, float]:
        """The path's own options, by name. Raises `InputError`."""
        kind = self.path_kind
        return options.parse("planning a call over", self.path, kind.options, f"use {kind.usage}")

    @property
    def phone_kind(self) -> PhoneKind:
        """The phone's registry entry. Raises `InputError`."""
        return PHONES.get(self.phone, "planning a call with")

    @property
    def tor_use(self) -> TorUse | None:
        """The call's load on the Tor network; None if its path does not use Tor."""
        uses = self.path_kind.tor
        return None if uses is None else uses(self)

    @property
    def over_tor(self) -> bool:
        """Whether the path has a Tor circuit."""
        return self.path_kind.tor is not None

    @property
    def chooses_relays(self) -> bool:
        """Whether Earwitness chooses the relays of the path's circuit; on an onion path, tor chooses all six."""
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


def _require_one_of(field: str, value: str, choices: Collection[str], tried: str, happened: str) -> None:
    if value not in choices:
        raise InputError(tried, value, happened, f"choose one of {', '.join(choices)}", field=field)


def _require_range(
    field: str, value: float, low: float, high: float, tried: str, unit: str, why: str = "out of range"
) -> None:
    if not low <= value <= high:
        raise InputError(tried, f"{value:g} {unit}", why, f"give {low:g} to {high:g}", field=field)
