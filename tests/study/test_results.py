"""Results of a study: paired comparison, SQL."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from earwitness.analysis.paired import AXIS_COLUMNS, Difference, compare, one_call_a_row
from earwitness.archive.dataset import Dataset
from earwitness.call.plan import CallPlan
from earwitness.errors import InputError, Outcome
from earwitness.study.file import parse_study
from earwitness.study.model import AXES
from earwitness.study.preview import pilot_variance
from earwitness.study.query import query
from testing.study.files import BOTH_CODECS, TOR3, study_file
from testing.study.simulated import SimulatedSlot, number, run_simulated

STUDY = study_file(
    "sim",
    "[retry]\nbackoff_s = 0.0\n[design]\nrepeats = 2\n",
    paths=[f"{TOR3}\nhops = 3", 'name = "tor2"\npath = "tor"\nhops = 2'],
    codecs=BOTH_CODECS,
    places=[
        ("Frankfurt", "London"),
        ("Paris", "Tokyo"),
        ("Seoul", "Lima"),
        ("Oslo", "Rome"),
        ("Cairo", "Delhi"),
        ("Quito", "Perth"),
        ("Vienna", "Dakar"),
    ],
)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("results") / "data"

    def fate(plan: CallPlan) -> tuple[Outcome, bool | None]:
        assert plan.study is not None
        draw = number(plan.seed, plan.study.arm)
        if plan.path == "tor" and draw < 0.15:  # fails at first, then completes
            return (Outcome.CIRCUIT_FAILED, None) if plan.study.attempt == 1 else (Outcome.COMPLETED, True)
        return Outcome.COMPLETED, draw < 0.95 or plan.path == "direct"

    run_simulated(STUDY, out, [SimulatedSlot(fate=fate)])
    return out


def found(rows: pd.DataFrame, by: str, measure: str, a: str, b: str) -> Difference:
    return next(one for one in compare(rows, by, [measure]) if (one.a, one.b) == (a, b))


def test_differences_are_within_blocks(directory: Path) -> None:
    rows = Dataset.open(directory).rows()
    good = rows[(rows["outcome"] == "completed") & (rows["instrument_ok"] == True)]  # noqa: E712
    wide = good.pivot_table(index="block", columns="arm", values="mos_lqo", aggfunc="mean").astype(float)
    expected = (wide["tor3"] - wide["direct"]).dropna()
    one = found(rows, "path", "mos_lqo", "direct", "tor3")
    assert one.pairs == len(expected)
    assert one.pairs + one.left_out == 28
    assert one.difference == pytest.approx(expected.mean())
    assert one.d_z == pytest.approx(expected.mean() / expected.std(ddof=1))
    assert one.places == 7
    assert one.low < one.difference < one.high < -0.9, "3 hops cost 1.2 in the simulation, with noise of ±0.2"


def test_the_interval_is_of_the_places(directory: Path) -> None:
    rows = Dataset.open(directory).rows()
    one = found(rows, "path", "mos_lqo", "direct", "tor3")
    calls = one_call_a_row(rows)
    wide = calls.pivot_table(index=["pairing", "codec", "place"], columns="level_path", values="mos_lqo").dropna()
    by_place = (wide["tor3"] - wide["direct"]).astype(float).groupby("place").mean()
    half = stats.t.ppf(0.975, 6) * by_place.std(ddof=1) / np.sqrt(7)
    assert 0.4 * half < (one.high - one.low) / 2 < 1.3 * half, "a percentile interval is a little shorter than t's"
    assert compare(rows, "path", ["mos_lqo"]) == compare(rows, "path", ["mos_lqo"])


def test_failure_counts_the_first_attempt_and_scores_the_last(directory: Path) -> None:
    rows = Dataset.open(directory).rows()
    first = rows[rows["attempt"] == 1].drop_duplicates("call_id")
    share = (first[first["arm"] == "tor3"]["outcome"] == "completed").mean()
    one = found(rows, "path", "completed", "direct", "tor3")
    assert one.mean_a == 1.0
    assert one.mean_b == pytest.approx(share)
    assert 0.0 < share < 1.0
    assert len(one_call_a_row(rows)) == 84, "one row a planned call, whatever its attempts"


def test_marked_calls_are_left_out_and_counted(directory: Path) -> None:
    rows = Dataset.open(directory).rows()
    strict = found(rows, "path", "mos_lqo", "direct", "tor2")
    lax = next(o for o in compare(rows, "path", ["mos_lqo"], any_instrument=True) if (o.a, o.b) == ("direct", "tor2"))
    assert strict.left_out > lax.left_out == 0
    assert strict.pairs + strict.left_out == lax.pairs == 28


def test_comparing_by_another_axis_pairs_within_the_repeat_and_path(directory: Path) -> None:
    one = found(Dataset.open(directory).rows(), "codec", "mos_lqo", "g711u", "opus:24000")
    assert one.pairs + one.left_out == 3 * 7 * 2


VARIED = """
version = 1
name = "varied"
[[path]]
name = "direct"
path = "direct"
[axes]
codec = ["g711u"]
places = [["Frankfurt", "London"], ["Paris", "Tokyo"]]
link = ["", "jitter=20"]
concealment = ["", "silence"]
[retry]
backoff_s = 0.0
[design]
repeats = 3
compare = ["link"]
"""


def test_every_axis_of_a_study_can_be_compared_by(tmp_path: Path) -> None:
    assert set(AXES) == set(AXIS_COLUMNS)
    run_simulated(VARIED, tmp_path / "data", [SimulatedSlot()])
    rows = Dataset.open(tmp_path / "data").rows()
    assert len(one_call_a_row(rows)) == 24, "no combination passes for another attempt at its neighbour"
    for by, a, b in (("link", "jitter=20", "none"), ("concealment", "silence", "wsola")):
        assert found(rows, by, "mos_lqo", a, b).pairs == 12


def test_what_cannot_be_compared_is_told(directory: Path) -> None:
    rows = Dataset.open(directory).rows()
    with pytest.raises(InputError, match="choose one of path, codec"):
        compare(rows, "colour")
    with pytest.raises(InputError, match="no such measure"):
        compare(rows, "path", ["happiness"])
    with pytest.raises(InputError, match="no two calls"):
        compare(rows, "speech")
    with pytest.raises(InputError, match="no two calls"):
        compare(rows.iloc[:0], "path")


def test_a_data_set_without_a_study_is_paired_by_seed(directory: Path) -> None:
    rows = Dataset.open(directory).rows()
    plain = rows.assign(study="", block="", arm="", attempt=pd.array([None] * len(rows), dtype="Int64"))
    plain = plain[plain["outcome"] == "completed"]
    one = found(plain, "path", "mos_lqo", "direct", "tor, 3 hops")
    same = found(rows, "path", "mos_lqo", "direct", "tor3")
    assert one.difference == pytest.approx(same.difference)
    assert one.pairs == same.pairs


def test_a_pilot_gives_the_variance(directory: Path) -> None:
    variance = pilot_variance(directory, parse_study(STUDY))
    assert 0.1 < variance.sd < 0.25  # two independent noises, uniform within ±0.2
    assert variance.places == 7
    study = parse_study(STUDY)
    with pytest.raises(InputError, match="no two pairs"):
        pilot_variance(directory, replace(study, design=replace(study.design, compare=("speech",))))


def test_sql_over_rows_and_journal(directory: Path) -> None:
    answer = query(directory, "SELECT arm, count(*) AS n FROM planned WHERE state = 'done' GROUP BY arm ORDER BY arm")
    assert answer.records() == [{"arm": "direct", "n": 28}, {"arm": "tor2", "n": 28}, {"arm": "tor3", "n": 28}]
    joined = query(
        directory,
        "SELECT count(DISTINCT call_id) FROM calls JOIN attempts USING (call_id) WHERE attempts.outcome != ''",
    )
    assert joined.rows[0][0] == len(set(Dataset.open(directory).rows()["call_id"]))


@pytest.mark.parametrize(
    "sql",
    ["SELECT nonsense FROM calls", "COPY calls TO '{out}/x.csv'", "SELECT * FROM read_csv('/etc/passwd')", "SELEC 1",
     "CREATE TABLE t AS SELECT 1", "SET lock_configuration = false"],
)  # fmt: skip
def test_sql_that_is_wrong_or_would_change_something(directory: Path, sql: str) -> None:
    with pytest.raises(InputError) as raised:
        query(directory, sql.format(out=directory))
    assert "\n" not in str(raised.value)
    assert not (directory / "x.csv").exists()
