"""`earwitness call`: place one call and measure it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from earwitness.cli.calling import DEFAULT_OUT
from earwitness.cli.common import JsonFlag, needs
from earwitness.path.registry import PATHS


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def call(
        path: Annotated[
            str,
            typer.Option(
                help=f"How the datagrams travel: {', '.join(kind.name for kind in PATHS.built_in)}, or one of a plug-in"
                " (`earwitness kinds`)."
            ),
        ] = "tor",
        hops: Annotated[int, typer.Option(help="Relays in the circuit, 2 to 8.")] = 3,
        guard: Annotated[str | None, typer.Option(help="First relay: nickname, fingerprint, city or country.")] = None,
        middle: Annotated[str | None, typer.Option(help="Middle relay, likewise; several with commas.")] = None,
        exit_: Annotated[str | None, typer.Option("--exit", help="Last relay, likewise.")] = None,
        codec: Annotated[
            str,
            typer.Option(help="With its options, such as g711u, opus:24000,fec=1 (`earwitness kinds` lists them)."),
        ] = "g711u",
        from_: Annotated[str, typer.Option("--from", help="City of the caller.")] = "Frankfurt",
        to: Annotated[
            str, typer.Option("--to", help="City of the callee; with --invitation: HOST[:PORT] of the other machine.")
        ] = "New York",
        invitation: Annotated[
            Path | None,
            typer.Option(help="Call another machine, where `earwitness answer` wrote this file, instead of the lab."),
        ] = None,
        network: Annotated[
            str,
            typer.Option(
                help="For Tor paths: public, by the tor that runs on this machine. With --invitation to another one;"
                " else both ends are this machine (onion; tor and vpn-tor with --reached-at)."
            ),
        ] = "lab",
        reached_at: Annotated[
            str,
            typer.Option(help="Both ends on this machine: the address by which exits reach it."),
        ] = "",
        media_port: Annotated[
            int, typer.Option(help="Both ends on this machine: TCP port that exits reach; 0: any. Exits like 443.")
        ] = 0,
        tor_control: Annotated[
            str | None,
            typer.Option(help="Its control port, unix:/path or host:port. Default: /run/tor/control, else port 9051."),
        ] = None,
        calls_an_hour: Annotated[
            int | None, typer.Option(help="Bound on calls over the public Tor network an hour. Default: 12.")
        ] = None,
        speech: Annotated[str, typer.Option(help="Shipped speech by name, or a sound file. Empty: the default.")] = "",
        seconds: Annotated[
            float | None, typer.Option(help="How long to speak: the speech looped or cut. Default: once.")
        ] = None,
        silence_suppression: Annotated[
            bool, typer.Option(help="Send nothing in pauses, as the published study's phones did.")
        ] = False,
        buffer: Annotated[str, typer.Option(help="Jitter buffer that renders the sound. Empty: the default.")] = "",
        concealment: Annotated[str, typer.Option(help="What fills a missing frame. Empty: the buffer's own.")] = "",
        scorer: Annotated[
            list[str] | None,
            typer.Option("--scorer", help="A further scorer by name (`earwitness kinds` lists them). May be repeated."),
        ] = None,
        phone: Annotated[
            str,
            typer.Option(
                help="Phone of both ends: builtin, linphone, or manual: your own, run by hand in a lab that is up;"
                " tells what to dial, and scores what comes."
            ),
        ] = "builtin",
        wait: Annotated[float, typer.Option(help="Seconds to wait for media of phones run by hand.")] = 120.0,
        keep_circuit: Annotated[
            bool,
            typer.Option(
                help="Leave the circuit standing and use it again: one for the calls with the same --hops, --guard,"
                " --middle, --exit in the same lab. Default: a fresh one for each call."
            ),
        ] = False,
        relay_nodelay: Annotated[
            bool | None,
            typer.Option(help="TCP_NODELAY on the lab's relays during the call. Default: as the lab has it; tor: off."),
        ] = None,
        security: Annotated[
            str, typer.Option(help="Of the tunnel (vpn, vpn-tor): none, as in the published study; static; or tls.")
        ] = "tls",
        tunnel_nodelay: Annotated[
            bool, typer.Option(help="TCP_NODELAY on the tunnel's own TCP connection (vpn, vpn-tor).")
        ] = True,
        single_onion: Annotated[
            bool, typer.Option(help="The onion service does not hide where it is: fewer hops (onion).")
        ] = False,
        rtt_probes: Annotated[int, typer.Option(help="Probes of the path's round-trip time before the call.")] = 3,
        throughput: Annotated[
            bool, typer.Option(help="Measure what the path carries each way, after the call: at most 1 MiB or 3 s.")
        ] = False,
        sip_relay: Annotated[bool, typer.Option(help="Have the lab's SIP server relay the media (rtpengine).")] = False,
        sip_server: Annotated[
            str | None,
            typer.Option(
                help="Register and call through a SIP server: lab (Kamailio, started for the call) or HOST[:PORT]."
                " Accounts from --sip-accounts, or EARWITNESS_SIP_CALLER_USER, ..._PASSWORD, and ..._CALLEE_..."
            ),
        ] = None,
        sip_accounts: Annotated[
            Path | None,
            typer.Option(
                help="TOML file, readable by you alone: \\[caller] and \\[callee], each with user and password."
            ),
        ] = None,
        link: Annotated[
            str, typer.Option(help="Impairments of the caller's links, beyond geography: jitter=5,loss=0.01,rate=2.")
        ] = "",
        load: Annotated[
            str,
            typer.Option(
                help="Background traffic over the lab's relays during the call: web:CLIENTS[,page=KIB][,pause=S],"
                " bulk:CLIENTS[,rate=MBIT], several with +, or none. Default: as the lab has it."
            ),
        ] = "",
        relay_mbit: Annotated[
            float | None,
            typer.Option(
                help="Bound on each relay's rate, Mbit/s; 0: none. Default: 2 with --load, else as the lab has it."
            ),
        ] = None,
        inject: Annotated[
            str | None,
            typer.Option(
                help="Cause a fault on purpose, to see it told: callee-absent, exit-refuses, port-taken,"
                " kill-guard@SECONDS, kill-middle@SECONDS, kill-exit@SECONDS, kill-tunnel@SECONDS,"
                " close-circuit@SECONDS."
            ),
        ] = None,
        seed: Annotated[int, typer.Option(help="Seed of everything random: relays, losses, RTP start values.")] = 1,
        out: Annotated[Path, typer.Option(help="Data set to add the call to.")] = DEFAULT_OUT,
        json: JsonFlag = False,
    ) -> None:
        """Place one real SIP/RTP call, both directions, and measure everything about it: in the lab, or outside.

        A lab that is up (`earwitness lab up`) is used; else one is started for the call and ended with it. Outside: to
        another machine, where `earwitness answer` waits, or over the public Tor network back to this one.
        Exit code 0: the call completed; 3: it ended otherwise (the line says how); 2: it could not be asked for so.
        """
        needs("call", "lab")
        from earwitness.call.lab_needs import lab_plan_for
        from earwitness.call.plan import CallPlan, Injection
        from earwitness.cli.calling import (
            call_other_machine,
            call_this_machine,
            check_lab_is_up,
            check_network,
            in_a_lab,
            place_calls,
        )

        check_network(network, invitation, path, reached_at)
        plan = CallPlan(
            path=path,
            hops=hops,
            guard=guard,
            middle=middle,
            exit=exit_,
            codec=codec,
            from_place=from_,
            to_place="" if invitation else from_ if network == "public" else to,
            speech=speech,
            seconds=seconds,
            silence_suppression=silence_suppression,
            buffer=buffer,
            concealment=concealment,
            scorers=tuple(scorer or ()),
            phone=phone,
            wait_s=wait,
            keep_circuit=keep_circuit,
            relay_nodelay=relay_nodelay,
            security=security,
            single_onion=single_onion,
            rtt_probes=rtt_probes,
            throughput=throughput,
            tunnel_nodelay=tunnel_nodelay,
            sip_server=sip_server,
            sip_accounts="" if sip_accounts is None else str(sip_accounts.absolute()),
            sip_relay=sip_relay,
            seed=seed,
            link=link,
            load=load,
            relay_mbit=relay_mbit,
            inject=None if inject is None else Injection.parse(inject),
        )
        plan.check()
        if invitation is not None:
            raise typer.Exit(
                call_other_machine(
                    [plan], to, invitation, out, tor_control=tor_control, calls_an_hour=calls_an_hour, json=json
                )
            )
        if network == "public":
            from earwitness.remote.loopback_answerer import LoopbackOptions
            from earwitness.remote.service import check_media_port

            options = LoopbackOptions(
                place=plan.from_place,
                reached_at=reached_at,
                media_port=check_media_port(media_port),
                tor_control=tor_control or "",
            )
            raise typer.Exit(call_this_machine([plan], options, out, calls_an_hour=calls_an_hour, json=json))
        lab_plan = lab_plan_for([plan])
        if plan.phone_kind.by_hand:
            check_lab_is_up(lab_plan)
        raise typer.Exit(
            in_a_lab(
                lab_plan,
                lambda: place_calls([plan], lab_plan, out, json=json),
                own=plan.inject is not None and plan.inject.kills_a_relay,
            )
        )
