from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from earwitness.archive.dataset import Dataset
from earwitness.archive.record import write_record
from earwitness.archive.stored import StoredCall
from earwitness.report.plot import UNITS, Plot
from earwitness.report.tracks import Tracks, tracks
from testing.report.synthetic import Made, add_call


@pytest.fixture(scope="module")
def call(tmp_path_factory: pytest.TempPathFactory) -> StoredCall:
    with Dataset.open_or_create(tmp_path_factory.mktemp("tracks") / "data") as dataset:
        add_call(dataset, Made("lossy", "direct", seed=3, loss=0.03))
        return dataset.call("lossy")


def _plot(made: Tracks, name: str) -> Plot:
    return next(plot for plot in made.plots if name in (plot.name, plot.heading))


def _seconds(path: str, span: float) -> list[tuple[float, float]]:
    found = re.findall(r"M(-?\d+) 0h(\d+)v", path)
    return [(int(x) / UNITS * span, (int(x) + int(wide)) / UNITS * span) for x, wide in found]


def test_lost_packets_stand_where_their_words_are(call: StoredCall) -> None:
    made = tracks(call, "to_callee")
    trace = call.trace("to_callee")
    lost_s = (trace.timestamp[~trace.arrived] - trace.timestamp.min()) / trace.clock_rate
    spans = _seconds(_plot(made, "lost").series[0].path, made.span_s)
    assert len(lost_s) > 5
    for second in lost_s:
        assert any(begin - 0.005 <= second <= end for begin, end in spans)
    covered = sum(end - begin for begin, end in spans)
    assert covered == pytest.approx(0.02 * len(lost_s), rel=0.2)


def test_a_lost_packet_is_concealed_at_the_same_place(call: StoredCall) -> None:
    made = tracks(call, "to_callee")
    lost = _seconds(_plot(made, "lost").series[0].path, made.span_s)
    concealed = _seconds(_plot(made, "concealed").series[0].path, made.span_s)
    for begin, end in lost[:-1]:
        assert any(abs(a - begin) < 0.03 and abs(b - end) < 0.03 for a, b in concealed)
    assert _plot(made, "heard").series[0].style == "band"


def test_said_and_heard_stand_under_themselves(call: StoredCall) -> None:
    made = tracks(call, "to_callee")
    assert made.said is not None
    assert made.heard is not None
    (said, rate), (heard, _) = made.said, made.heard
    start = round(made.heard_after_s * rate)

    def alike(shift: int) -> float:
        shifted = heard[start + shift :][: len(said)].astype(float)
        return float(np.corrcoef(said[: len(shifted)].astype(float), shifted)[0, 1])

    best = max(range(-400, 401, 2), key=alike)
    assert abs(best) <= 16, "more than 2 ms off"


def test_without_a_recorded_alignment_it_is_found(call: StoredCall, tmp_path: Path) -> None:
    recorded = tracks(call, "to_callee").heard_after_s
    folder = tmp_path / "lossy"
    folder.mkdir()
    for path in call.folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    write_record(folder, replace(call.record, listening={}))
    assert tracks(StoredCall(folder), "to_callee").heard_after_s == pytest.approx(recorded, abs=0.012)


def test_text_alternatives_tell_the_numbers(call: StoredCall) -> None:
    made = tracks(call, "to_callee")
    trace = call.trace("to_callee")
    lost = int((~trace.arrived).sum())
    assert f"{lost} lost" in _plot(made, "one-way delay, ms").says
    assert "median 49 ms" in _plot(made, "one-way delay, ms").says
    assert _plot(made, "jitter, ms").says.startswith("Interarrival jitter, RFC 3550: mean 0.2 ms")


def test_a_call_without_a_common_clock_has_no_delay_track(call: StoredCall, tmp_path: Path) -> None:
    from earwitness.trace.table import write_trace

    folder = tmp_path / "lossy"
    folder.mkdir()
    for path in call.folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    trace = replace(call.trace("to_callee"), sent_clock="another")
    write_trace(trace, folder / "to_callee.trace.parquet")
    headings = [plot.heading for plot in tracks(StoredCall(folder), "to_callee").plots]
    assert "one-way delay, ms" not in headings
    assert "jitter, ms" in headings
