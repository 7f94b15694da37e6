"""`earwitness lab up | status | run | down`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from earwitness.cli import panels
from earwitness.cli.common import JsonFlag, needs, output, print_records, progress
from earwitness.cli.naming import CommandLine
from earwitness.cli.options import taking
from earwitness.events import Event, StageReached
from earwitness.lab.load.spec import DEFAULT_RELAY_MBIT, NO_LOAD, LoadSpec

if TYPE_CHECKING:
    from earwitness.lab.keeper import KeeperRecord
    from earwitness.lab.plan import LabPlan

lab = CommandLine(
    no_args_is_help=True,
    help="Run a lab: hosts in cities, the emulated network between them, a private Tor network."
    " Other commands use it while it is up; otherwise each starts and ends its own.",
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(lab, name="lab", rich_help_panel=panels.CALLS)


@dataclass(frozen=True, kw_only=True)
class LabOptions:
    """The options of `earwitness lab up`."""

    caller_place: Annotated[str, typer.Option("--from", help="City of the caller.", rich_help_panel=panels.PLACES)] = (
        "Frankfurt"
    )
    callee_place: Annotated[str, typer.Option("--to", help="City of the callee.", rich_help_panel=panels.PLACES)] = (
        "New York"
    )
    seed: Annotated[
        int, typer.Option(help="Seed of every random decision of the network.", rich_help_panel=panels.PLACES)
    ] = 1
    with_tor: Annotated[
        bool,
        typer.Option(
            "--tor/--no-tor",
            help="Start a private Tor network; without it the lab has only caller, callee and server.",
            rich_help_panel=panels.TOR,
        ),
    ] = True
    authorities: Annotated[
        int, typer.Option(help="Number of directory authorities, 1 to 5.", rich_help_panel=panels.TOR)
    ] = 3
    relays: Annotated[
        int, typer.Option(help="Number of relays, each in a city, 3 to 200.", rich_help_panel=panels.TOR)
    ] = 8
    relay_nodelay: Annotated[
        bool,
        typer.Option(
            "--relay-nodelay/--no-relay-nodelay",
            help="Set TCP_NODELAY on the relays; stock tor does not.",
            rich_help_panel=panels.TOR,
        ),
    ] = False
    relay_mbit: Annotated[
        float | None,
        typer.Option(
            help="Rate limit of each relay in Mbit/s, so that a load queues; `call --load` needs it. 0: no"
            " limit. Default: 2 with --load, else 0.",
            rich_help_panel=panels.TOR,
        ),
    ] = None
    load: Annotated[
        str,
        typer.Option(
            help="Background traffic over the relays while the lab is up:"
            " web:CLIENTS[,page=KIB][,pause=S], bulk:CLIENTS[,rate=MBIT], several with +.",
            rich_help_panel=panels.LINKS,
        ),
    ] = NO_LOAD
    links: Annotated[
        list[str] | None,
        typer.Option(
            "--link",
            help="Change links on top of geography: `caller-callee:jitter=5,loss=0.01` (both ways; ms,"
            " ratio), `caller>callee:...` (one way), `relay3:...` (all of a host), `*:...`. Repeat it"
            " for several. Default: none.",
            rich_help_panel=panels.LINKS,
        ),
    ] = None
    inflation: Annotated[
        float | None,
        typer.Option(
            help="Ratio of the delay of links to that of light in fibre along the great circle. Default: 1.6.",
            rich_help_panel=panels.LINKS,
        ),
    ] = None
    json: JsonFlag = False

    def plan(self) -> LabPlan:
        """The lab to start; raises `InputError` if it is impossible."""
        from earwitness.errors import InputError, naming_field
        from earwitness.geography import INFLATION
        from earwitness.lab.plan import LabPlan

        changes: dict[str, str] = {}
        for text in self.links or []:
            key, colon, spec = text.partition(":")
            if not colon:
                remedy = "write HOSTS:setting=value,..."
                raise InputError("reading changes to links", repr(text), "no colon in it", remedy, field="links")
            changes[key] = spec
        with naming_field("load"):
            loaded = bool(LoadSpec.parse(self.load))
        relay_mbit = (DEFAULT_RELAY_MBIT if loaded else 0.0) if self.relay_mbit is None else self.relay_mbit
        return LabPlan(
            caller_place=self.caller_place,
            callee_place=self.callee_place,
            with_tor=self.with_tor,
            authorities=self.authorities,
            relays=self.relays,
            relay_nodelay=self.relay_nodelay,
            load=self.load,
            with_load=loaded or bool(relay_mbit),
            relay_mbit=relay_mbit,
            links=changes,
            inflation=INFLATION if self.inflation is None else self.inflation,
            seed=self.seed,
        )


@lab.command("up")
@taking(LabOptions)
def lab_up(asked: LabOptions) -> None:
    """Start a lab and leave it running until `earwitness lab down`."""
    needs("lab up", "lab")
    from earwitness.lab import keeper

    plan = asked.plan()
    with progress.status("starting the lab") as line:

        def on_event(event: Event) -> None:
            if isinstance(event, StageReached):
                line.update(event.stage if event.fraction is None else f"{event.stage} ({event.fraction:.0%})")

        keeper.start_keeper(plan, on_event)
    hosts = [{"name": host.name, "role": host.role, "place": host.place} for host in plan.hosts()]
    if asked.json:
        print_records([{"state": "up", "hosts": hosts, "plan": plan.to_dict()}])
    else:
        for host in hosts:
            output.print(f"{host['name']:12} {host['role']:10} {host['place']}")
        progress.print("the lab is up; `earwitness lab status` shows it, `earwitness lab down` ends it")


@lab.command("status")
def lab_status(json: JsonFlag = False) -> None:
    """Show the running lab: hosts, circuits, the emulator's lateness. Exit code 1: no lab is up, or it has problems."""
    import asyncio

    needs("lab status", "lab")
    from earwitness.lab.health import health
    from earwitness.lab.lab import Lab
    from earwitness.netns.sandbox import in_sandbox

    if not in_sandbox():
        _rerun_in_lab_or_exit(json)

    async def ask() -> dict[str, Any]:
        with Lab.joined() as joined:
            return (await health(joined)).to_dict()

    found = asyncio.run(ask())
    if json:
        print_records([{"state": "up", **found}])
    else:
        _print_health(found)
    if not found["well"]:
        raise typer.Exit(1)


@lab.command("run", context_settings={"ignore_unknown_options": True})
def lab_run(
    host: Annotated[str, typer.Argument(help="Host of the lab: caller, callee, server, relay1 ...")],
    command: Annotated[list[str], typer.Argument(help="The command and its arguments.")],
) -> None:
    """Run a command on a host of the running lab, for example `earwitness lab run caller tcpdump -ni lab0`."""
    needs("lab run", "lab")
    from earwitness.lab.lab import Lab
    from earwitness.netns.sandbox import in_sandbox

    if not in_sandbox():
        _rerun_in_lab_or_exit(json=False)
    with Lab.joined() as joined:
        # In our own process group, so that interactive commands have the terminal.
        process = joined.host(host).popen(command, process_group=None)
        while True:
            try:
                code = process.wait()
                break
            except KeyboardInterrupt:
                continue  # the command has received it too, and may handle it
    raise typer.Exit(code if code >= 0 else 128 - code)


@lab.command("down")
def lab_down(json: JsonFlag = False) -> None:
    """End the running lab, and show that no process of it is left."""
    needs("lab down", "lab")
    from earwitness.lab import keeper

    ended = keeper.end_keeper()
    if ended is None:
        _none_up(json)
        raise typer.Exit(0)
    record, left = ended
    if json:
        left_over = [{"pid": pid, "name": name} for pid, name in left]
        print_records([{"state": "down", "namespaces": len(record.namespaces), "left": left_over}])
    else:
        output.print(f"the lab is down; processes left in its {len(record.namespaces)} namespaces: {len(left)}")
    if left:
        raise typer.Exit(1)


def _rerun_in_lab_or_exit(json: bool) -> None:
    """Run this command inside the running lab, or report that none is up; never returns."""
    from earwitness.lab.keeper import current
    from earwitness.lab.session import rerun_joined

    record: KeeperRecord | None = current()
    if record is None:
        _none_up(json)
        raise typer.Exit(1)
    if not record.ready:
        progress.print("a lab is being started")
        raise typer.Exit(1)
    raise typer.Exit(rerun_joined(record))


def _none_up(json: bool) -> None:
    if json:
        print_records([{"state": "down"}])
    else:
        output.print("no lab is up")


def _print_health(found: dict[str, Any]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for heading in ("host", "role", "place", "address", "tor"):
        table.add_column(heading)
    for host in found["hosts"]:
        tor = {None: Text(), True: Text("runs"), False: Text("ended", style="red")}[host.get("runs")]
        if "circuit" in host:
            tor = Text("circuit ready") if host["circuit"] else Text("no circuit", style="red")
        place = f"{host['place']}, {host['country']}"
        table.add_row(host["name"], host["role"], place, host["address"], tor)
    output.print(table)
    emulator = found["emulator"]
    late, fates = emulator["lateness"], emulator["fates"]
    lost = {name: number for name, number in fates.items() if number and name not in ("delivered", "duplicate")}
    output.print(
        f"emulator: up {emulator['up_s']:.0f} s, {fates['delivered']} packets delivered, lost {lost or 'none'}; "
        f"late by p50 {late['p50_ms']:.3f} ms, p99 {late['p99_ms']:.3f} ms, at most {late['max_ms']:.3f} ms"
        + ("" if emulator["realtime"] else " (no real-time scheduling: not root)")
    )
    output.print(f"load: {found['load']}", markup=False)
    for problem in found["problems"]:
        output.print(Text.assemble(("problem:", "red"), f" {problem}"))
