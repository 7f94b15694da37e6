"""`earwitness study`: plans, runs and resumes studies of many calls."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from earwitness.cli import panels
from earwitness.cli.clusters import ClusterOption, KeysOption, cluster_asked
from earwitness.cli.common import JsonFlag, needs, output, print_records, progress
from earwitness.cli.naming import CommandLine

StudyFileArgument = Annotated[Path, typer.Argument(help="Study file (TOML).")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    study = CommandLine(
        no_args_is_help=True, help="Place many calls: write a study file, see its cost, run it, resume it."
    )
    app.add_typer(study, name="study", rich_help_panel=panels.STUDIES)
    study.command(name="init")(study_init)
    study.command(name="plan")(study_plan)
    study.command(name="run")(study_run)
    study.command(name="status")(study_status)


def study_init(
    file: StudyFileArgument = Path("study.toml"),
    like: Annotated[
        str, typer.Option(help="Example to start from: small or published.", rich_help_panel=panels.CHOICE)
    ] = "small",
    name: Annotated[
        str, typer.Option(help="Name of the study. Default: the example's.", rich_help_panel=panels.CHOICE)
    ] = "",
    force: Annotated[
        bool, typer.Option("--force", help="Replace an existing file.", rich_help_panel=panels.RESULT)
    ] = False,
) -> None:
    """Write a study file that is ready to run, with a reason beside every default."""
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


def study_plan(
    file: StudyFileArgument,
    pilot: Annotated[
        Path | None,
        typer.Option(
            help="Data set that gives the variance of paired differences. Default: the study file's assumptions.",
            rich_help_panel=panels.METHOD,
        ),
    ] = None,
    calls: Annotated[
        int, typer.Option(help="Number of planned calls to print, in order.", rich_help_panel=panels.RESULT)
    ] = 0,
    json: JsonFlag = False,
) -> None:
    """Check the file, and show the study's calls, time, bytes on Tor and smallest detectable difference.

    Nothing is started. With --json, the first record is the summary, followed by one for each call of --calls.
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


def study_run(
    file: StudyFileArgument,
    out: Annotated[
        Path,
        typer.Option(help="Data set of the study; give the same one to resume it.", rich_help_panel=panels.RESULT),
    ],
    report: Annotated[
        bool, typer.Option("--report/--no-report", help="Write report.html at the end.", rich_help_panel=panels.RESULT)
    ] = True,
    cluster: ClusterOption = None,
    keys: KeysOption = None,
    patience_s: Annotated[
        float,
        typer.Option(
            "--patience",
            min=0,
            help="With --cluster: seconds that a place waits for its vantage.",
            rich_help_panel=panels.WORK,
        ),
    ] = 300.0,
    json: JsonFlag = False,
) -> None:
    """Run or resume a study: calls in the data set are not placed again; incomplete calls do not count.

    It runs in the lab, or with --cluster between vantages at its places (`earwitness vantage`).

    Ctrl-C once: no new calls start, and running ones are finished. Twice: they are stored as interrupted.
    Exit code 0: finished, or ended by the stopping rule or the budget; 130: stopped; 1: a problem must be fixed first.
    """
    needs("study run", "lab" if cluster is None else "cluster", *["report"] * report)
    from earwitness.cli.calling import in_a_lab
    from earwitness.cli.running import run_study, run_study_in_cluster
    from earwitness.errors import InputError
    from earwitness.study.file import read_study_file
    from earwitness.study.session import lab_plan_of

    study_file = read_study_file(file)
    if (joining := cluster_asked(cluster, keys)) is not None:
        raise typer.Exit(
            run_study_in_cluster(study_file, out, *joining, patience_s=patience_s, report=report, json=json)
        )
    study = study_file.study
    if study.network != "lab":
        remedy = 'give --cluster tls://HOST:PORT and --keys, or write network = "lab"'
        raise InputError("running the study over the network", study.network, "it is between vantages", remedy)
    lab_plan = lab_plan_of(study)
    raise typer.Exit(in_a_lab(lab_plan, lambda: run_study(study_file, out, report=report, json=json)))


def study_status(
    directory: Annotated[Path, typer.Argument(help="Data set of the study.")],
    json: JsonFlag = False,
) -> None:
    """Show a study's progress: calls by path, outcomes, rate and time left. Works while the study runs."""
    needs("study status", "data")
    from earwitness.study.status import status as status_of
    from earwitness.study.status import status_text

    found = status_of(directory)
    if json:
        print_records([found.to_dict()])
        return
    for line in status_text(found):
        output.print(line, markup=False, soft_wrap=True)
