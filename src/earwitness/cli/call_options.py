"""The options of `earwitness call`, in panels; the call's own options have the names of `CallPlan`'s fields."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from earwitness.cli import panels
from earwitness.cli.common import JsonFlag
from earwitness.errors import naming_field
from earwitness.path.registry import PATHS

if TYPE_CHECKING:
    from earwitness.call.plan import CallPlan

DEFAULT_OUT = Path("earwitness-data")

PATH, CIRCUIT, TUNNEL = "Path", "Tor circuit", "Tunnel (vpn, vpn-tor)"
SPEECH, PHONES, SIP = "Speech and codec", "Phones", "SIP server"
LAB, OUTSIDE = "Lab", "Another machine, or the public Tor network"


@dataclass(frozen=True, kw_only=True)
class CallOptions:
    """The user's options."""

    path: Annotated[
        str,
        Option(
            help=f"How the datagrams travel: {', '.join(kind.name for kind in PATHS.built_in)}, or a plug-in's path"
            " (`earwitness kinds paths`).",
            rich_help_panel=PATH,
        ),
    ] = "tor"
    from_place: Annotated[str, Option("--from", help="City of the caller.", rich_help_panel=PATH)] = "Frankfurt"
    to_place: Annotated[
        str,
        Option(
            "--to",
            help="City of the callee; with --invitation: HOST[:PORT] of the other machine.",
            rich_help_panel=PATH,
        ),
    ] = "New York"
    rtt_probes: Annotated[
        int, Option(help="Datagrams that measure the round-trip time before the call, 0 to 1000.", rich_help_panel=PATH)
    ] = 3
    throughput: Annotated[
        bool,
        Option(
            help="Measure the path's throughput each way after the call, with at most 1 MiB or 3 s.",
            rich_help_panel=PATH,
        ),
    ] = False

    hops: Annotated[int, Option(help="Relays in the circuit, 2 to 8.", rich_help_panel=CIRCUIT)] = 3
    guard: Annotated[
        str | None,
        Option(
            help="First relay: nickname, fingerprint, city or country. Default: drawn from the seed.",
            rich_help_panel=CIRCUIT,
        ),
    ] = None
    middle: Annotated[
        str | None,
        Option(
            help="Middle relay, in the same form; separate several by commas. Default: drawn from the seed.",
            rich_help_panel=CIRCUIT,
        ),
    ] = None
    exit: Annotated[
        str | None,
        Option(help="Last relay, in the same form. Default: drawn from the seed.", rich_help_panel=CIRCUIT),
    ] = None
    keep_circuit: Annotated[
        bool,
        Option(
            help="Keep the circuit after the call, and reuse the one that an earlier call with the same --hops,"
            " --guard, --middle and --exit kept in the same lab. Default: a new circuit for each call.",
            rich_help_panel=CIRCUIT,
        ),
    ] = False
    single_onion: Annotated[
        bool,
        Option(
            help="Use a single onion service, which does not hide its location: fewer hops (path onion).",
            rich_help_panel=CIRCUIT,
        ),
    ] = False

    security: Annotated[
        str,
        Option(
            help="How the tunnel is protected: none (as in the published study), static or tls.",
            rich_help_panel=TUNNEL,
        ),
    ] = "tls"
    tunnel_nodelay: Annotated[
        bool, Option(help="Set TCP_NODELAY on the tunnel's own TCP connection.", rich_help_panel=TUNNEL)
    ] = True

    codec: Annotated[
        str,
        Option(
            help="Codec with its options, such as g711u or opus:24000,fec=1 (`earwitness kinds codecs`).",
            rich_help_panel=SPEECH,
        ),
    ] = "g711u"
    ptime: Annotated[
        float | None,
        Option(
            help="Speech in a packet, in ms, as in 10 or 40; the same as the codec's option ptime. Default: the codec's"
            " (20).",
            rich_help_panel=SPEECH,
        ),
    ] = None
    speech: Annotated[
        str,
        Option(
            help="Speech to play: the name of a shipped speech, or a sound file. Default: the first shipped one.",
            rich_help_panel=SPEECH,
        ),
    ] = ""
    seconds: Annotated[
        float | None,
        Option(
            help="Duration of speech in s, 4 to 3600: the speech is looped or cut. Default: the speech once.",
            rich_help_panel=SPEECH,
        ),
    ] = None
    silence_suppression: Annotated[
        bool,
        Option(help="Send nothing in pauses, as the published study's phones did.", rich_help_panel=SPEECH),
    ] = False
    buffer: Annotated[
        str,
        Option(help="Jitter buffer that renders the sound. Default: the phone's own.", rich_help_panel=SPEECH),
    ] = ""
    concealment: Annotated[
        str, Option(help="Concealment of missing frames. Default: the buffer's own.", rich_help_panel=SPEECH)
    ] = ""

    scorers: Annotated[
        list[str] | None,
        Option(
            "--scorer",
            help="Additional scorer by name (`earwitness kinds scorers`); repeat for several. Default: none.",
            rich_help_panel=SPEECH,
        ),
    ] = None

    phone: Annotated[
        str,
        Option(
            help="Phone of both ends: builtin, linphone, or manual: your own phones, which you use by hand in a lab"
            " that is up. The command then prints what to dial, and scores what arrives.",
            rich_help_panel=PHONES,
        ),
    ] = "builtin"
    wait_s: Annotated[
        float,
        Option(
            "--wait",
            help="Time to wait for media of phones used by hand, in s, 1 to 3600.",
            rich_help_panel=PHONES,
        ),
    ] = 120.0

    sip_server: Annotated[
        str | None,
        Option(
            help="Register and call through a SIP server: lab (Kamailio, started for the call) or HOST[:PORT]."
            " Default: the phones call each other.",
            rich_help_panel=SIP,
        ),
    ] = None
    sip_accounts: Annotated[
        Path | None,
        Option(
            help="TOML file that only you can read, with \\[caller] and \\[callee], each with user and password."
            " Default: EARWITNESS_SIP_CALLER_USER, ..._CALLER_PASSWORD and ..._CALLEE_... in the environment.",
            rich_help_panel=SIP,
        ),
    ] = None
    sip_relay: Annotated[
        bool, Option(help="Relay the media through the lab's SIP server (rtpengine).", rich_help_panel=SIP)
    ] = False

    link: Annotated[
        str,
        Option(
            help="Impairments of the caller's links on top of geography, as in jitter=5,loss=0.01,rate=2"
            " (ms, ratio, Mbit/s). Default: none.",
            rich_help_panel=LAB,
        ),
    ] = ""
    load: Annotated[
        str,
        Option(
            help="Background traffic over the lab's relays during the call: web:CLIENTS[,page=KIB][,pause=S],"
            " bulk:CLIENTS[,rate=MBIT], several with +, or none. Default: the lab's.",
            rich_help_panel=LAB,
        ),
    ] = ""
    relay_mbit: Annotated[
        float | None,
        Option(
            help="Limit on each relay's rate, in Mbit/s; 0: none. Default: 2 with --load, else the lab's.",
            rich_help_panel=LAB,
        ),
    ] = None
    relay_nodelay: Annotated[
        bool | None,
        Option(
            help="Set TCP_NODELAY on the lab's relays during the call. Default: as in the lab (tor: off).",
            rich_help_panel=LAB,
        ),
    ] = None
    inject: Annotated[
        str | None,
        Option(
            help="Inject a fault: callee-absent, exit-refuses, port-taken,"
            " kill-guard@SECONDS, kill-middle@SECONDS, kill-exit@SECONDS, kill-tunnel@SECONDS,"
            " close-circuit@SECONDS. Default: none.",
            rich_help_panel=LAB,
        ),
    ] = None

    invitation: Annotated[
        Path | None,
        Option(
            help="Call another machine, where `earwitness answer` wrote this file. Default: stay in the lab.",
            rich_help_panel=OUTSIDE,
        ),
    ] = None
    network: Annotated[
        str,
        Option(
            help="Network of the call: lab, or public (the public Tor network, through the tor of this machine). With"
            " --invitation the call goes to another machine, otherwise back to this one (onion; tor and vpn-tor with"
            " --reached-at).",
            rich_help_panel=OUTSIDE,
        ),
    ] = "lab"
    reached_at: Annotated[
        str,
        Option(
            help="Address at which exits reach this machine, if it has both ends. Default: none.",
            rich_help_panel=OUTSIDE,
        ),
    ] = ""
    media_port: Annotated[
        int,
        Option(
            help="TCP port that exits reach, if this machine has both ends; 0: any. Most exits permit 443.",
            rich_help_panel=OUTSIDE,
        ),
    ] = 0
    tor_control: Annotated[
        str | None,
        Option(
            help="Control port of this machine's tor, unix:/path or host:port."
            " Default: /run/tor/control, else port 9051.",
            rich_help_panel=OUTSIDE,
        ),
    ] = None
    calls_an_hour: Annotated[
        int | None,
        Option(
            help="Maximum number of calls per hour over the public Tor network. Default: 12.", rich_help_panel=OUTSIDE
        ),
    ] = None

    seed: Annotated[
        int,
        Option(help="Seed of everything random: relays, losses, RTP start values.", rich_help_panel=panels.RESULT),
    ] = 1
    out: Annotated[Path, Option(help="Data set to add the call to.", rich_help_panel=panels.RESULT)] = DEFAULT_OUT
    json: JsonFlag = False

    def plan(self) -> CallPlan:
        """The call to place; raises `InputError` if it is impossible."""
        from earwitness.call.plan import CallPlan, Injection

        values: dict[str, Any] = {
            field.name: getattr(self, field.name) for field in dataclasses.fields(CallPlan) if hasattr(self, field.name)
        }
        if self.ptime is not None:
            from earwitness.speech.codecs.registry import at_ptime, codec

            with naming_field("codec"):
                chosen = codec(self.codec)
            with naming_field("ptime"):
                values["codec"] = at_ptime(chosen, self.ptime).spec
        if self.invitation is not None:
            values["to_place"] = ""
        elif self.network == "public":
            values["to_place"] = self.from_place
        values["scorers"] = tuple(self.scorers or ())
        values["sip_accounts"] = "" if self.sip_accounts is None else str(self.sip_accounts.absolute())
        values["inject"] = None if self.inject is None else Injection.parse(self.inject)
        return CallPlan(**values)
