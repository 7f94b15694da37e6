"""What `earwitness reproduce` writes: for the study's layout and for a data set of ours."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from earwitness.cli.main import app
from earwitness.published.importing import import_folder
from earwitness.published.printed_numbers import NUMBERS
from earwitness.report.reproduction.drawing import FigureData
from earwitness.report.reproduction.figures import FIGURES, draw_figures
from earwitness.report.reproduction.reproduce import reproduce
from earwitness.report.reproduction.result import Reproduction
from earwitness.report.reproduction.text import markdown_table
from testing.published.make import (
    CALLER,
    SERVER,
    both_ways,
    end_files,
    pcap,
    reference,
    sound,
    stream,
    table,
    wav_bytes,
)


def artifact(root: Path) -> Path:
    """A small artifact: two tables, Tor Metrics, and a few raw calls."""
    (root / "05-data").mkdir(parents=True)
    table(200).to_csv(root / "05-data" / "Non-tor-data.csv", index=False)
    slow = table(120, seed=4, tor_status="Tor")
    for name in slow.columns[8:]:
        slow[name] = slow[name] * 60 + 1
    slow.to_csv(root / "05-data" / "Two-hop-Tor-data.csv", index=False)
    days = pd.date_range("2025-04-01", periods=30).strftime("%Y-%m-%d")
    for stem, middle in (("latencies", 200), ("throughput", 9000)):
        pd.DataFrame(
            {"date": np.tile(days, 2), "source": np.repeat(["op-a", "op-b"], 30), "md": np.arange(60) + middle}
        ).to_csv(root / f"onionperf-{stem}-x.csv", index=False)
    reference(root)
    generator = np.random.default_rng(5)
    for iteration in (0, 1, 10):
        for location in ("1Frank-Lond", "3Bangl-nyc"):
            delays = generator.gamma(1.0, 60.0, 300)
            end_files(root, capture=both_ways(delays_ms=delays), recording=wav_bytes(sound(26)), iteration=iteration,
                      location=location)  # fmt: skip
    return root


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Reproduction]:
    """An artifact and what was made of it."""
    folder = tmp_path_factory.mktemp("study")
    root = artifact(folder / "artifact")
    return root, reproduce(root, folder / "out", resamples=20)


def test_a_whole_artifact(study: tuple[Path, Reproduction]) -> None:
    _, result = study
    assert result.imported is not None
    assert result.imported.calls_found == 6
    assert {figure.name for figure in result.figures} == {name for name, _, _ in FIGURES}
    for figure in result.figures:
        pdf, png = figure.files
        assert pdf.read_bytes().startswith(b"%PDF")
        assert png.read_bytes().startswith(b"\x89PNG")
        assert figure.caption
    written = {path.name for path in result.files}
    assert written >= {
        "numbers.csv", "conditions.csv", "codecs.csv", "places.csv", "correlations.csv", "reproduction.md",
        "import.json", "raw-files.csv",
    }  # fmt: skip
    page = (result.out / "reproduction.html").read_text()
    assert page.count("data:image/png;base64,") == len(FIGURES)
    assert not re.search(r"""(src|href)=["']?(?!data:)[a-z]""", page)  # nothing from anywhere else
    assert "<script" not in page
    assert "not computable" in page
    conditions = pd.read_csv(result.out / "conditions.csv")
    assert {"Non-Tor", "Tor, 2 hops", "Tor, 3 hops (raw)"} <= set(conditions["condition"])


def test_a_second_run_measures_nothing_and_gives_the_same_bytes(study: tuple[Path, Reproduction]) -> None:
    root, first = study
    before = {path.name: path.read_bytes() for path in first.files if path.suffix in (".csv", ".png", ".pdf")}
    second = reproduce(root, first.out, resamples=20)
    assert second.imported is not None
    assert second.imported.calls_imported == 0
    assert {path.name: path.read_bytes() for path in second.files if path.suffix in (".csv", ".png", ".pdf")} == before


def test_tables_alone_say_what_cannot_be_drawn(study: tuple[Path, Reproduction], tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app, ["reproduce", str(study[0]), "--out", str(tmp_path), "--no-raw", "--resamples", "20"]
    )
    assert result.exit_code == 0, result.output
    assert "not drawn: Delay spikes against jitter: spikes need each packet's time" in result.stdout
    assert "circuits of one length only" in result.stdout
    assert "Not drawn" in (tmp_path / "reproduction.html").read_text()


def test_a_data_set_of_ours(tmp_path: Path) -> None:
    root = tmp_path / "in"
    reference(root)
    for iteration in range(6):
        for location in ("1Frank-Lond", "9Osaka-UAE"):
            capture = pcap(stream(SERVER, CALLER, delays_ms=np.random.default_rng(iteration).gamma(1.0, 20.0, 300)))
            end_files(root, capture=capture, recording=wav_bytes(sound(26)), iteration=iteration, location=location)
    import_folder(root, tmp_path / "set")
    result = reproduce(tmp_path / "set", tmp_path / "out", resamples=20)
    assert not result.numbers
    assert result.imported is None
    drawn = {figure.name for figure in result.figures}
    assert {"pesq-cdf", "codec-box", "place-cdf", "jitter-cdf", "spikes-jitter"} <= drawn
    assert "for this data set" in (tmp_path / "out" / "reproduction.html").read_text()


def test_everything_is_escaped(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    table(30, location="<script>alert(1)</script>").to_csv(folder / "<b>.csv", index=False)
    reproduce(folder, tmp_path / "out", resamples=20)
    page = (tmp_path / "out" / "reproduction.html").read_text()
    assert "<script" not in page
    assert "&lt;b&gt;.csv" in page
    assert markdown_table(("a",), [("x|y",)]).endswith("| x\\|y |")


def test_an_empty_study_draws_nothing_and_says_why(tmp_path: Path) -> None:
    from earwitness.published.tidy import tidy_rows

    nothing = tidy_rows([], "x")
    drawn, reasons = draw_figures(FigureData(nothing, (), nothing), tmp_path)
    assert not drawn
    assert len(reasons) == len(FIGURES)


def test_the_command_gives_a_record_a_number(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    table(30).to_csv(folder / "x.csv", index=False)
    result = CliRunner().invoke(
        app, ["reproduce", str(folder), "--out", str(tmp_path / "out"), "--resamples", "20", "--json"]
    )
    assert result.exit_code == 0, result.output
    assert result.stdout.count('"published"') == len(NUMBERS)
