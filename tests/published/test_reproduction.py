"""The study's numbers: its faults repeated where it had them, and right beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from earwitness.analysis.statistics import quartiles
from earwitness.errors import InputError
from earwitness.published.calls_csv import COLUMNS, read_published_csv, write_published_csv
from earwitness.published.comparison import compare_conditions, correlations
from earwitness.published.methods import METHODS, codec_as_published, ends_completed, ends_scored
from earwitness.published.printed_numbers import NUMBERS
from earwitness.published.reproduction import AGREES, DIFFERS, MISSING, metrics_numbers, reproduce_numbers
from earwitness.published.row_check import check_rows
from earwitness.published.suspect_batches import JITTER_REASON, SCORE_REASON, doubtful_calls, without_doubtful
from earwitness.published.tidy import TIDY, read_ends, tidy_published, tidy_rows
from testing.published.make import table


def write_tables(folder: Path, **tables: pd.DataFrame) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in tables.items():
        frame.to_csv(folder / f"{name.replace('_', '-')}.csv", index=False)
    return folder


def test_a_table_comes_back_as_it_was_written(tmp_path: Path) -> None:
    frame = table(20)
    frame.loc[3, "callee_pesq_mos"] = np.nan
    frame.loc[4, "caller_pesq_raw"] = 0.0
    write_published_csv([{str(k): v for k, v in row.items()} for row in frame.to_dict("records")], tmp_path / "x.csv")
    pd.testing.assert_frame_equal(read_published_csv(tmp_path / "x.csv"), frame[list(COLUMNS)], check_dtype=False)


def test_a_table_of_other_columns_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="columns missing"):
        read_published_csv(tmp_path / "x.csv")
    with pytest.raises(InputError, match=r"calls\.parquet"):
        read_ends(tmp_path)


def test_both_layouts_make_one_frame(tmp_path: Path) -> None:
    folder = write_tables(tmp_path, a=table(10), two_hop=table(8, tor_status="Tor"), three=table(6, tor_status="Tor"))
    ends = read_ends(folder)
    assert list(ends.frame.columns) == list(TIDY)
    assert ends.conditions == ["Non-Tor", "Tor, 3 hops", "Tor, 2 hops"]
    assert len(ends.of("Tor, 2 hops")) == 16
    rows: list[dict[str, Any]] = [
        {"call_id": "a", "network": "lab", "path": "tor", "hops": 2, "codec": "opus:24000", "from_place": "Oslo",
         "to_place": "Lima", "direction": "to_caller", "outcome": "completed", "mos_lqo": 3.1, "doubts": None},
        {"call_id": "a", "network": "lab", "path": "direct", "hops": None, "codec": "g711u", "from_place": "Oslo",
         "to_place": "Lima", "direction": "to_callee", "outcome": "no_media", "mos_lqo": None, "doubts": "x"},
    ]  # fmt: skip
    ours = tidy_rows(rows, "set")
    assert list(ours.columns) == list(TIDY)
    assert ours["condition"].tolist() == ["tor, 2 hops", "direct"]
    assert ours["end"].tolist() == ["caller", "callee"]
    assert ours["place"].tolist() == ["Oslo – Lima"] * 2


def test_the_codec_table_loses_the_callee_as_pandas_does() -> None:
    frame = table(50)
    frame.loc[:4, "caller_pesq_mos"] = 0.0
    # the study's own statements, on the same table
    theirs = pd.DataFrame({"codec": frame["codec"]})
    theirs["pesq"] = pd.concat([frame["caller_pesq_mos"], frame["callee_pesq_mos"]], ignore_index=True)
    theirs = theirs.dropna()
    theirs = theirs[theirs["pesq"] > 0]
    ends = tidy_published(frame, "x.csv")
    for codec in ("g711", "gsm", "opus", "speex"):
        expected = theirs[theirs["codec"] == codec]["pesq"].to_numpy()
        assert np.array_equal(codec_as_published(ends, codec), expected)
    right = METHODS["codec_total"].right
    assert right is not None
    both = right(ends, "gsm")
    is_gsm = frame["codec"] == "gsm"
    expected_both = (frame[is_gsm][["caller_pesq_mos", "callee_pesq_mos"]] > 0).sum().sum()
    assert both.statistic(both.rows["mos_lqo"]) == expected_both


def test_zeros_are_kept_or_dropped_as_it_is_said() -> None:
    frame = table(40)
    frame.loc[:9, "callee_pesq_mos"] = 0.0
    frame.loc[10, "callee_pesq_mos"] = np.nan
    ends = tidy_published(frame, "x.csv")
    assert len(ends_scored(ends)) == 79
    assert len(ends_completed(ends)) == 69
    kept = METHODS["pesq_quartile"].as_published(ends, "0")
    dropped = METHODS["pesq_quartile"].right
    assert dropped is not None
    assert float(kept) < dropped(ends, "0").statistic(ends_completed(ends)["mos_lqo"])


def test_the_cut_leaves_out_the_worst_calls() -> None:
    frame = table(100)
    frame.loc[:9, "caller_jitter_mean"] = 40.0
    ends = tidy_published(frame, "x.csv")
    right = METHODS["jitter_mean"].right
    assert right is not None
    assert METHODS["jitter_total"].as_published(ends, "") == "200"
    assert METHODS["jitter_kept"].as_published(ends, "") == "190"
    cut = float(METHODS["jitter_mean"].as_published(ends, "").split()[0])
    whole = right(ends, "")
    assert whole.statistic(whole.rows["jitter_mean_ms"]) > 4 * cut


def test_correlations_are_of_calls_with_both_ends() -> None:
    frame = table(30)
    frame.loc[0, "caller_pesq_mos"] = 0.0
    frame.loc[1, "callee_jitter_std_dev"] = np.nan
    ends = tidy_published(frame.assign(tor_status="Tor"), "x.csv")
    good = frame.iloc[2:]
    expected = pd.concat([good["caller_pesq_mos"], good["callee_pesq_mos"]], ignore_index=True).corr(
        pd.concat([good["caller_jitter_std_dev"], good["callee_jitter_std_dev"]], ignore_index=True), method="kendall"
    )
    assert METHODS["correlation"].as_published(ends, "Kendall") == f"{expected:.3f}"


def test_what_is_not_here_is_not_computed_and_says_what_is_near(tmp_path: Path) -> None:
    frame = pd.concat([tidy_published(table(40), "x.csv")])
    two = tidy_published(table(30, tor_status="Tor"), "two-hop.csv")
    numbers = reproduce_numbers(frame, {"2-hop table": two, "nothing": two.iloc[:0]}, resamples=20)
    assert len(numbers) == len(NUMBERS)
    tor = [n for n in numbers if n.condition == "Tor, 3 hops"]
    assert len(tor) > 10
    assert all(n.agrees == MISSING and not n.recomputed and n.why.startswith("not here") for n in tor)
    share = next(n for n in tor if n.quantity == "MOS-LQO ≥ 3.0")
    assert share.nearest.startswith("2-hop table (30 calls): ")
    assert "nothing" not in share.nearest
    here = [n for n in numbers if n.condition == "Non-Tor"]
    assert {n.agrees for n in here} <= {AGREES, DIFFERS}
    assert next(n for n in here if n.quantity == "rows").agrees == DIFFERS


def test_a_three_hop_table_would_be_computed(tmp_path: Path) -> None:
    ends = read_ends(write_tables(tmp_path, tor=table(50, tor_status="Tor"), plain=table(50)))
    numbers = reproduce_numbers(ends.frame, resamples=20)
    missing = {n.quantity for n in numbers if n.agrees == MISSING}
    assert missing == {n.quantity for n in numbers if n.group == "One-way delay"}


def test_failed_days_count_in_the_corrected_throughput() -> None:
    metrics = pd.DataFrame({"date": "d", "source": ["a"] * 10, "md": [0, 0, 600, 700, 800, 900, 1000, 400, 600, 600]})
    first, second = metrics_numbers(metrics)
    assert first.recomputed == "8"
    assert second.recomputed == "87.5 %"
    assert second.corrected == "70.0 %"


def test_doubtful_calls_are_found_by_jitter_and_by_score() -> None:
    frame = table(400, seed=2)
    frame.loc[5, "callee_jitter_mean"] = 31.0
    batch = (frame["codec"] == "gsm") & (frame["location"] == "3Bangl-nyc")
    frame.loc[batch, "caller_pesq_mos"] = 4.1
    found = doubtful_calls(tidy_published(frame, "x.csv")).set_index("call")["reason"]
    assert found["x.csv#5"] == JITTER_REASON
    assert set(found[found == SCORE_REASON].index) == {f"x.csv#{i}" for i in frame.index[batch] if i != 5}
    ends = tidy_published(frame, "x.csv")
    assert ends["call"].nunique() - without_doubtful(ends)["call"].nunique() == len(found)
    assert doubtful_calls(tidy_published(table(400), "x.csv")).empty


def test_a_comparison_counts_what_it_shows() -> None:
    frame = table(80)
    frame.loc[:3, "caller_pesq_mos"] = 0.0
    ends = tidy_published(frame, "x.csv")
    row = compare_conditions(ends, "condition", resamples=50).iloc[0]
    assert (row["ends"], row["scored"], row["failed"]) == (160, 160, 4)
    scores = ends_completed(ends)["mos_lqo"]
    assert row["share_at_least_3"] == pytest.approx((scores >= 3).mean())
    assert row["mos_lqo_median"] == quartiles(scores)[1]
    assert row["share_low"] <= row["share_at_least_3"] <= row["share_high"]
    by_codec = compare_conditions(ends, "codec", resamples=50)
    assert by_codec["ends"].sum() == 160
    found = correlations(ends, resamples=20)
    assert set(found["codec"]) == {"all codecs", "g711u", "gsm", "opus", "speex"}


def test_raw_rows_are_held_against_the_published_ones() -> None:
    frame = table(6)
    ends = tidy_published(frame, "x.csv")
    imported = pd.DataFrame(
        [
            {
                "call_id": f"c{i}", "network": "published", "path": "vpn", "hops": 0, "codec": "other",
                "codec_claimed": end["codec"], "reading": "as-published", "direction": "to_caller",
                "from_place": end["place"].split(" – ")[0], "to_place": end["place"].split(" – ")[1],
                "iteration": i, "outcome": "completed", "doubts": "", "source_recording": "r.wav" if i != 2 else "",
                **{name: end[name] for name in TIDY if name.startswith("jitter_")},
                "pesq_raw": end["pesq_raw"] + (0.0004 if i == 0 else 0.0),
                "mos_lqo": end["mos_lqo"] + (0.001 if i == 1 else 0.0),
            }
            for i, end in enumerate(ends.head(4).to_dict("records"))
        ]
    )  # fmt: skip
    imported["jitter_iqr_ms"] += [0.0, 0.0, 0.0, 0.0021]
    checked = check_rows(imported, ends).set_index("call")
    assert checked["jitter_agrees"].tolist() == [True, True, True, False]
    assert checked["pesq_agrees"].tolist() == [True, False, None, True]
    assert check_rows(imported.assign(codec_claimed="elsewhere"), ends).empty


@pytest.mark.published
def test_every_published_number_that_can_be_computed_is_given_again(published: Path) -> None:
    ends = read_ends(published)
    numbers = reproduce_numbers(ends.frame, resamples=50)
    assert [n.quantity for n in numbers if n.agrees == DIFFERS] == []
    agreeing = [n for n in numbers if n.agrees == AGREES]
    assert len(agreeing) == sum(number.condition == "Non-Tor" for number in NUMBERS) == 36
    assert {n.condition for n in numbers if n.agrees == MISSING} == {"Tor, 3 hops"}
    by_quantity = {(n.condition, n.quantity): n for n in numbers}
    assert by_quantity["Non-Tor", "MOS-LQO ≥ 3.0"].recomputed == "82.22 %"
    assert by_quantity["Non-Tor", "ends kept by a 3 × IQR cut"].recomputed == "9,828"
    assert by_quantity["Non-Tor", "speex: MOS-LQO > 3.0"].corrected == "80.27 %"


@pytest.mark.published
def test_tor_metrics_numbers_are_given_again(published: Path) -> None:
    (path,) = published.rglob("onionperf-throughput*.csv")
    assert [n.agrees for n in metrics_numbers(pd.read_csv(path))] == [AGREES, AGREES]


@pytest.mark.published
def test_the_doubtful_batches_of_the_published_table(published: Path) -> None:
    found = doubtful_calls(read_ends(published).frame)["reason"].value_counts()
    assert found[JITTER_REASON] == 373
    assert found[SCORE_REASON] == 100
