"""`earwitness study`: many calls: planned, run, resumed, looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from earwitness.cli.clusters import ClusterOption, KeysOption, cluster_asked
from earwitness.cli.common import JsonFlag, needs, output, print_records, progress
from earwitness.cli.naming import CommandLine

StudyFile = Annotated[Path, typer.Argument(help="The study file (TOML).")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    study = CommandLine(
        no_args_is_help=True, help="Many calls: write the study's file, see what it takes, run it, resume it."
    )
    app.add_typer(study, name="study")
    study.command(name="init")(init)
    study.command(name="plan")(plan)
    study.command(name="run")(run)
    study.command(name="status")(status)


def init(
    file: StudyFile = Path("study.toml"),
    like: Annotated[str, typer.Option(help="Which example: small, or published.")] = "small",
    name: Annotated[str, typer.Option(help="Name of the study. Default: the example's.")] = "",
    force: Annotated[bool, typer.Option(help="Write over a file that is there.")] = False,
) -> None:
    """Write a study file that can be run as it is; every default stands beside its reason."""
    needs("study init", "lab")
    from earwitness.errors import EarwitnessError, InputError
    from earwitness.study.file import parse_study
    from earwitness.study.template import study_template

    text = study_template(like, name)
    study = parse_study(text, file)
    try:
        with file.open("w" if force else "x", encoding="utf-8") as opened:
            opened.write(text)
    except FileExistsError:
        raise InputError("writing the study", file, "it is there already", "give another name, or --force") from None
    except OSError as error:
        raise EarwitnessError("writing the study", file, error.strerror, "give a place that can be written") from error
    progress.print(f"{file}: {study.calls:,} calls; look at it, then `earwitness study plan {file}`", markup=False)


def plan(
    file: StudyFile,
    pilot: Annotated[
        Path | None, typer.Option(help="Data set to take the variance of paired differences from.")
    ] = None,
    calls: Annotated[int, typer.Option(help="Print so many of the planned calls, in order.")] = 0,
    json: JsonFlag = False,
) -> None:
    """Check the whole file, and show what the study takes: calls, time, bytes on Tor, the smallest visible difference.

    Nothing is started. With --json the first record is the summary, then one for each call that --calls asks for.
    """
    import dataclasses
    import itertools

    needs("study plan", "lab")
    from earwitness.study.file import read_study
    from earwitness.study.preview import preview, preview_text

    planned = preview(read_study(file), pilot)
    if json:
        print_records([planned.to_dict()])
        print_records(dataclasses.asdict(call) for call in itertools.islice(planned.calls, calls))
        return
    for line in preview_text(planned, calls):
        output.print(line, markup=False, soft_wrap=True)


def run(
    file: StudyFile,
    out: Annotated[Path, typer.Option(help="Data set of the study; the same again resumes it.")],
    report: Annotated[bool, typer.Option("--report/--no-report", help="Write report.html at the end.")] = True,
    cluster: ClusterOption = None,
    keys: KeysOption = None,
    patience: Annotated[
        float, typer.Option(min=0, help="With --cluster: seconds that a place waits for its vantage.")
    ] = 300.0,
    json: JsonFlag = False,
) -> None:
    """Run the study, or resume it: calls that are in the data set are not placed again, half a call does not count.

    In the lab, or with --cluster between vantages that bear its places (`earwitness vantage`).

    Ctrl-C once: no new calls, those on the air are finished. Twice: they are stored as interrupted.
    Exit code 0: finished, or enough by the stopping rule or the budget; 130: stopped; 1: something is to be mended.
    """
    needs("study run", "lab" if cluster is None else "cluster", *["report"] * report)
    from earwitness.cli.calling import in_a_lab
    from earwitness.cli.running import run_study, run_study_in_cluster
    from earwitness.errors import InputError
    from earwitness.study.file import read_study_file
    from earwitness.study.session import lab_plan_of

    study_file = read_study_file(file)
    if (joining := cluster_asked(cluster, keys)) is not None:
        raise typer.Exit(run_study_in_cluster(study_file, out, *joining, patience_s=patience, report=report, json=json))
    study = study_file.study
    if study.network != "lab":
        remedy = 'give --cluster tls://HOST:PORT and --keys, or write network = "lab"'
        raise InputError("running the study over the network", study.network, "it is between vantages", remedy)
    lab_plan = lab_plan_of(study)
    raise typer.Exit(in_a_lab(lab_plan, lambda: run_study(study_file, out, report=report, json=json)))


def status(
    directory: Annotated[Path, typer.Argument(help="The study's data set.")],
    json: JsonFlag = False,
) -> None:
    """How far a study is: calls by path, outcomes, rate and time left. May be asked while it runs."""
    needs("study status", "data")
    from earwitness.study.status import status as status_of
    from earwitness.study.status import status_text

    found = status_of(directory)
    if json:
        print_records([found.to_dict()])
        return
    for line in status_text(found):
        output.print(line, markup=False, soft_wrap=True)
