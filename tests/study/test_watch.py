"""The continuous mode: turns, days, metrics that Prometheus takes."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from earwitness.archive.dataset import Dataset
from earwitness.call.plan import CallPlan
from earwitness.errors import InputError, Outcome
from earwitness.events import Event, to_all
from earwitness.study.ending import Ending, StopRequest, Why
from earwitness.study.events import TurnFinished
from earwitness.study.file import parse_study, read_study_file
from earwitness.study.metrics import Metrics
from earwitness.study.metrics_server import served
from earwitness.study.watch import remember, remove_old, study_of_day, watch
from testing.study.files import BOTH_CODECS, TOR3, study_file
from testing.study.simulated import Fate, SimulatedSlot, completes

STUDY = study_file("live", "[watch]\nevery_min = 0.0005\nblocks = 1\n", paths=[TOR3], codecs=BOTH_CODECS)


def run(
    directory: Path, days: list[str], metrics: Metrics | None = None, fate: Fate = completes, text: str = STUDY
) -> tuple[Ending, list[TurnFinished], SimulatedSlot]:
    """One turn on each of these days, then the user's word to stop."""
    file = directory / "watch.toml"
    file.write_text(text)
    turns: list[TurnFinished] = []
    post = SimulatedSlot(fate=fate)
    asked = iter([*(day for day in days for _ in range(2)), days[-1]])

    async def watching() -> Ending:
        stop = StopRequest()

        def on_event(event: Event) -> None:
            if isinstance(event, TurnFinished):
                turns.append(event)
            if len(turns) == len(days):
                stop.ask()

        return await watch(
            read_study_file(file),
            directory / "out",
            [post],
            stop,
            on_event=to_all((metrics or Metrics()).listen, on_event),
            today=lambda: next(asked),
        )

    return asyncio.run(watching()), turns, post


def scraped(metrics: Metrics) -> str:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    with (
        served(metrics.registry, listener) as (host, port),
        urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=10) as answer,
    ):
        return str(answer.read().decode())


def test_turns_fill_a_data_set_a_day(tmp_path: Path) -> None:
    ending, turns, post = run(tmp_path, ["2026-03-01", "2026-03-01", "2026-03-02"])
    assert ending.why is Why.STOPPED
    assert [(turn.day, turn.blocks, turn.ending.completed) for turn in turns] == [
        ("2026-03-01", 1, 2),
        ("2026-03-01", 1, 2),
        ("2026-03-02", 1, 2),
    ]
    assert len(post.placed) == 6
    first, second = (Dataset.open(tmp_path / "out" / day).rows() for day in ("2026-03-01", "2026-03-02"))
    assert (len(first), len(second)) == (8, 4)
    assert first["block"].nunique() == 2
    assert set(first["seed"]).isdisjoint(second["seed"]), "each day draws its own relays"


def test_a_watch_that_begins_again_goes_on_with_the_day(tmp_path: Path) -> None:
    run(tmp_path, ["2026-03-01"])
    _, _, post = run(tmp_path, ["2026-03-01"])
    rows = Dataset.open(tmp_path / "out" / "2026-03-01").rows()
    assert rows["block"].nunique() == 2
    assert {plan.study and plan.study.block for plan in post.placed} <= set(rows["block"])


def test_a_day_holds_the_blocks_of_its_schedule() -> None:
    study = parse_study(STUDY.replace("0.0005", "15"))
    day = study_of_day(study, "2026-03-01")
    assert day.design.repeats * day.blocks_per_repeat >= 96
    assert day.name == "live-2026-03-01"
    assert day.seed != study_of_day(study, "2026-03-02").seed


def test_old_days_are_removed_and_nothing_else(tmp_path: Path) -> None:
    run(tmp_path, ["2026-02-20", "2026-02-27", "2026-03-01"])
    (tmp_path / "out" / "2025-01-01").mkdir()
    (tmp_path / "out" / "notes").mkdir()
    assert remove_old(tmp_path / "out", 0, "2026-03-01") == []
    assert remove_old(tmp_path / "out", 7, "2026-03-01") == ["2026-02-20"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "2025-01-01",
        "2026-02-27",
        "2026-03-01",
        "notes",
    ]


def test_metrics_say_what_was_measured(tmp_path: Path) -> None:
    def fate(plan: CallPlan) -> tuple[Outcome, bool | None]:
        assert plan.study is not None
        if plan.path == "tor" and plan.codec == "g711u":
            return Outcome.SPEECH_UNUSABLE, None
        return Outcome.COMPLETED, plan.codec != "opus:24000" or plan.path == "direct"

    metrics = Metrics()
    run(tmp_path, ["2026-03-01"] * 2, metrics, fate, STUDY + "[retry]\ninstrument = 1")
    text = scraped(metrics)
    samples = {
        (
            sample.name,
            *(sample.labels.get(key, "") for key in ("path", "codec", "outcome", "direction", "good")),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if "le" not in sample.labels
    }
    assert samples["earwitness_calls_total", "direct", "g711u", "completed", "", ""] == 1
    assert samples["earwitness_calls_total", "tor3", "g711u", "speech_unusable", "", ""] == 1
    assert samples["earwitness_acceptable_ratio", "direct", "g711u", "", "", ""] == 1.0
    assert samples["earwitness_acceptable_ratio", "tor3", "g711u", "", "", ""] == 0.0
    assert samples["earwitness_instrument_checks_total", "", "", "", "", "false"] == 2
    assert samples["earwitness_mos_lqo_count", "direct", "opus", "", "to_caller", ""] == 1
    assert ("earwitness_mos_lqo_count", "tor3", "opus", "", "to_caller", "") not in samples, "not trusted, not counted"
    assert samples["earwitness_one_way_delay_seconds_sum", "direct", "g711u", "", "to_callee", ""] == pytest.approx(
        0.04
    )
    assert samples["earwitness_blocks_total", "", "", "", "", ""] == 2


def test_promtool_has_nothing_to_say(tmp_path: Path) -> None:
    metrics = Metrics()
    run(tmp_path, ["2026-03-01"], metrics)
    text = scraped(metrics)
    promtool = shutil.which("promtool") or os.environ.get("EARWITNESS_PROMTOOL", "")
    if not promtool:
        pytest.skip("promtool is not here: install the package prometheus, or set EARWITNESS_PROMTOOL")
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_shares_do_not_begin_at_nothing(tmp_path: Path) -> None:
    run(tmp_path, ["2026-03-01"])
    metrics = Metrics()
    remember(tmp_path / "out", metrics, "2026-03-01")
    text = scraped(metrics)
    assert 'earwitness_acceptable_ratio{codec="' in text
    assert "earwitness_calls_total{" not in text, "counters count what this process saw"


def test_a_fault_in_the_file_ends_the_watch(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"watch\.every_min"):
        run(tmp_path, ["2026-03-01"], text=STUDY.replace("0.0005", "-1"))
