from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console

from earwitness.archive.schema import Row
from earwitness.report.table import live_table, report


def _row(i: int, path: str, hops: int | None, codec: str, direction: str) -> Row:
    return Row(
        call_id=f"{i}{codec}",
        path=path,
        hops=hops,
        codec=codec,
        direction=direction,
        outcome="completed",
        from_place="Frankfurt",
        to_place="New York",
        mos_lqo=4.4 - i,
        mos_cqe=4.1 - i,
        mouth_to_ear_ms=120 + 1000.0 * i,
        owd_p50_ms=45.2,
        owd_p95_ms=1234.0,
        jitter_mean_ms=30.4,
        loss_ratio=0.0001,
        late_ratio=0.123 * i,
        verdict=["good", "acceptable", "bad"][i],
        verdict_reason="12 % of the packets came too late for a buffer of 60 ms",
    )


def _rows() -> list[Row]:
    directions = ("to_callee", "to_caller")
    paths: list[tuple[str, int | None]] = [("direct", None), ("tor", 3), ("tor", 2)]
    made = [
        _row(i, path, hops, codec, direction)
        for i, (path, hops) in enumerate(paths)
        for codec in ("g711u", "opus:24000")
        for direction in directions
    ]
    detail = "extending the circuit to [bold]relay3[/bold]: no such relay; choose another"
    failed = Row(call_id="f", path="tor", hops=3, codec="gsm", outcome="circuit_failed", outcome_detail=detail)
    return made + [replace(failed, verdict="failed", direction=direction) for direction in directions]


def _printed(width: int = 100) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width).print(report(_rows(), width))
    return stream.getvalue()


def test_it_fits_a_hundred_columns_a_line_a_row() -> None:
    lines = _printed().splitlines()
    end = lines.index("")
    assert end == 2 + 12 + 1, "a row was wrapped, or a failed call took more than one row"
    assert "…" not in "".join(lines[:end])
    assert lines[2].split()[:5] == ["direct", "G.711", "μ-law", "Frankfurt", "4.40"]


def test_a_row_that_the_instrument_doubts_says_so_however_good() -> None:
    stream = io.StringIO()
    row = replace(_rows()[0], instrument_ok=False, instrument_detail="packets waited for processors")
    Console(file=stream, width=200).print(report([row], 200))
    assert "this machine's own timing was not good enough (packets waited for processors)" in stream.getvalue()


def test_the_load_stands_under_the_path() -> None:
    stream = io.StringIO()
    rows = [replace(row, load="web:12") for row in _rows()[4:6]]
    Console(file=stream, width=100).print(report(rows, 100))
    first, second = (line[:12].rstrip() for line in stream.getvalue().splitlines()[2:4])
    assert (first, second) == ("Tor, 3 hops", "load web:12")


def test_on_a_narrow_terminal_numbers_stay_whole() -> None:
    lines = _printed(80).splitlines()
    table = lines[: lines.index("")]
    assert max(map(len, table)) <= 80
    acceptable = [line for line in table if "◐" in line]
    assert acceptable
    assert all("acceptable" in line for line in acceptable)
    assert sum("4.40" in line for line in table) == 4


def test_a_failed_call_is_told_once_and_its_text_is_no_markup() -> None:
    text = _printed(200)
    assert text.count("extending the circuit to [bold]relay3[/bold]: no such relay; choose another") == 1


def test_good_calls_need_no_explanation() -> None:
    notes = _printed(200).split("\n\n", 1)[1]
    assert "direct" not in notes
    assert notes.count("came too late for a buffer") == 8


def test_live_progress_ends_in_rows() -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=100, force_terminal=True)
    with live_table(console) as live:
        live.stage("1", "tor 3 hops, g711u", "building the circuit")
        assert list(live.pending) == ["1"]
        live.finished("1", _rows()[:2])
        assert list(live.pending) == []
    assert "building the circuit" in stream.getvalue()
    assert "New York" in stream.getvalue()
