"""Raw published files against the published rows: jitter, PESQ, and there and back through export."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from earwitness.archive.dataset import Dataset
from earwitness.published.calls_csv import JITTER, read_published_csv
from earwitness.published.importing import export_published, import_folder
from earwitness.published.row_check import check_rows
from earwitness.published.tidy import read_ends

pytestmark = pytest.mark.published

FOREIGN_SCORES = "nontor-speex-NonTOR_Nagle_OFF_SPEEX-4singapore-nyc-0"
"""The Singapore - New York Speex rows hold scores up to 4.47, where Speex reaches 3.30 everywhere else: they are not of
these recordings, and the recording at hand scores 3.06 where its row says 2.53."""


@pytest.fixture(scope="module")
def imported(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("import") / "set"
    import_folder(published / "05-data" / "Sample-Raw-Data" / "Non-Tor", out, as_published=True)
    return out


def test_jitter_and_pesq_are_the_published_ones(published: Path, imported: Path) -> None:
    checked = check_rows(Dataset.open(imported).rows(), read_ends(published).frame)
    assert len(checked) == 39
    assert checked["jitter_agrees"].all()
    assert checked["jitter_measured"].sum() == 34
    scored = checked[checked["pesq_agrees"].notna()]
    assert len(scored) == 34
    assert scored[~scored["pesq_agrees"].astype(bool)]["call"].tolist() == [FOREIGN_SCORES]


def test_there_and_back(published: Path, imported: Path, tmp_path: Path) -> None:
    (csv,) = published.rglob("Non-tor-data.csv")
    key = ["codec", "location", "iteration_no"]
    theirs = read_published_csv(csv).set_index(key)
    export_published(imported, tmp_path / "x.csv")
    ours = read_published_csv(tmp_path / "x.csv").set_index(key)
    ours = ours[ours.index.isin(theirs.index)]
    assert len(ours) == 34
    compared = 0
    for index in ours.index:
        row, wanted = ours.loc[index], theirs.loc[index]
        assert row["tor_status"] == wanted["tor_status"]
        for end in ("caller", "callee"):
            if end == "callee" and index[0] != "g711":  # only G.711 has callee files here
                assert np.isnan(row["callee_pesq_mos"])
                continue
            jitter = [f"{end}_{name}" for name in JITTER]
            a, b = row[jitter].to_numpy(dtype=float), wanted[jitter].to_numpy(dtype=float)
            assert np.array_equal(np.isnan(a), np.isnan(b)), index
            assert np.allclose(a, b, atol=0.001, equal_nan=True), index
            if index[:2] != ("speex", "4singapore-nyc"):
                scores = [f"{end}_pesq_raw", f"{end}_pesq_mos"]
                assert row[scores].tolist() == wanted[scores].tolist(), index
            compared += 1
    assert compared == 39


def test_the_quirks_are_met_in_the_data_themselves(published: Path, tmp_path: Path) -> None:
    raw = published / "05-data" / "Sample-Raw-Data" / "Tor"
    import_folder(raw / "GSM" / "9Osaka-UAE", tmp_path / "a", as_published=True)
    rows = Dataset.open(tmp_path / "a").rows()
    assert set(rows["codec"]) == {"g711u"}
    assert rows["doubts"].str.contains("codec not as claimed").all()
    import_folder(raw / "OPUS" / "7CapeTown-Seoul", tmp_path / "b", as_published=True)
    outcomes = Dataset.open(tmp_path / "b").rows().set_index(["iteration", "direction"])["outcome"]
    assert outcomes[0, "to_caller"] == "no_media"
    assert outcomes[0, "to_callee"] == "capture_empty"
    assert pd.notna(outcomes[1, "to_caller"])
