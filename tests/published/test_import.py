"""Import: the quirks of the published folders, on files of our own making that show them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from earwitness.archive.dataset import Dataset
from earwitness.cli.main import app
from earwitness.errors import EarwitnessError, InputError
from earwitness.events import Event, Progress
from earwitness.published.calls_csv import COLUMNS, read_published_csv
from earwitness.published.importing import export_published, import_folder
from earwitness.published.recording import declared_bytes, read_recording
from earwitness.score.pesq import pesq_nb
from testing.published.make import CALLER, SERVER, both_ways, end_files, pcap, reference, sound, stream, wav_bytes


def only_row(root: Path, **options: Any) -> dict[str, object]:
    """Import a folder with one end and return its row."""
    import_folder(root, root / "out", **options)
    (row,) = Dataset.open(root / "out").rows().to_dict("records")
    return {str(name): None if value is pd.NA else value for name, value in row.items()}


def test_a_sound_end_is_measured_and_says_where_it_came_from(tmp_path: Path) -> None:
    speech = reference(tmp_path)
    generator = np.random.default_rng(0)
    delays = generator.gamma(2.0, 5.0, 300)
    end_files(tmp_path, capture=both_ways(delays_ms=delays), recording=wav_bytes(sound(26)))
    row = only_row(tmp_path)
    assert row["outcome"] == "completed"
    assert row["direction"] == "to_caller"
    assert (row["from_place"], row["to_place"], row["hops"]) == ("Frankfurt", "London", 3)
    assert row["codec"] == row["codec_claimed"] == "g711u"
    assert row["source_capture"] == "Tor/g711/1Frank-Lond/caller/data/test_pcaps/pcap_capture_inside_0.pcap"
    assert str(row["source_recording"]).startswith("Tor/g711/")
    assert row["packets_received"] == 300
    # RFC 3550 by its own recursion, in order of arrival
    arrivals = np.arange(300) * 20.0 + delays
    order = np.argsort(arrivals, kind="stable")
    change = np.abs(np.diff(np.round(arrivals[order], 3) - 20.0 * order))
    estimate, series = 0.0, [0.0]
    for deviation in change:
        estimate += (deviation - estimate) / 16
        series.append(estimate)
    assert row["jitter_mean_ms"] == pytest.approx(np.mean(series), abs=1e-3)
    assert row["jitter_sd_ms"] == pytest.approx(np.std(series, ddof=1), abs=1e-3)
    assert row["doubts"] == ""
    assert row["mos_lqo"] == pytest.approx(
        pesq_nb(read_recording(speech, "", as_published=False).samples, sound(26), 8000).mos_lqo
    )


def test_the_folders_name_is_not_the_codec(tmp_path: Path) -> None:
    end_files(tmp_path, codec="GSM", capture=both_ways(payload_type=0))
    row = only_row(tmp_path)
    assert (row["codec"], row["codec_claimed"]) == ("g711u", "gsm")
    assert "codec not as claimed" in str(row["doubts"])


def test_a_header_without_a_packet(tmp_path: Path) -> None:
    end_files(tmp_path, capture=pcap([]))
    row = only_row(tmp_path)
    assert row["outcome"] == "capture_empty"
    assert "capture empty" in str(row["doubts"])


def test_a_capture_cut_in_the_middle_of_a_packet(tmp_path: Path) -> None:
    end_files(tmp_path, capture=both_ways()[:-40])
    row = only_row(tmp_path)
    assert "capture cut" in str(row["doubts"])
    assert 295 <= int(str(row["packets_received"])) <= 300


def test_no_rtp_from_the_far_end(tmp_path: Path) -> None:
    end_files(tmp_path, capture=pcap(stream(CALLER, SERVER)))
    row = only_row(tmp_path)
    assert row["outcome"] == "one_way_media"
    assert "no RTP from the far end" in str(row["doubts"])
    assert row["packets_received"] is None


def test_a_file_that_is_no_capture(tmp_path: Path) -> None:
    end_files(tmp_path, capture=b"<html>not found</html>", recording=wav_bytes(sound(26)))
    reference(tmp_path)
    row = only_row(tmp_path)
    assert "capture unreadable" in str(row["doubts"])
    assert row["mos_lqo"] is not None  # what can be scored is


def test_a_stray_second_ssrc_is_told_and_counts_as_published_only(tmp_path: Path) -> None:
    main = stream(SERVER, CALLER, packets=300)
    stray = stream(SERVER, CALLER, ssrc=0xBAD, packets=5, start=1002.013, first_sequence=9, ticks=160)
    end_files(tmp_path, capture=pcap(sorted(main + stray)))
    row = only_row(tmp_path)
    assert "stray SSRC" in str(row["doubts"])
    assert row["packets_received"] == 300
    assert row["jitter_max_ms"] == pytest.approx(0.0, abs=1e-6)
    import_folder(tmp_path / "Tor", tmp_path / "published", as_published=True)
    theirs = Dataset.open(tmp_path / "published").rows().iloc[0]
    assert theirs["jitter_max_ms"] > 1.0  # the study's script took every packet from the address


def test_a_pause_of_silence_suppression_is_a_gap_but_no_spike(tmp_path: Path) -> None:
    delays = np.zeros(300)
    delays[200] = 300.0
    delays[201:216] = np.linspace(280, 0, 15)  # held up behind it
    end_files(tmp_path, capture=pcap(stream(SERVER, CALLER, pause_after=100, delays_ms=delays)))
    row = only_row(tmp_path)
    assert (row["gaps_150ms"], row["spikes_150ms"]) == (2, 1)


def test_both_ends_together_tell_the_loss(tmp_path: Path) -> None:
    sent = stream(SERVER, CALLER, packets=200)
    arrived = [packet for number, packet in enumerate(sent) if number not in (50, 51, 120)]
    end_files(tmp_path, "caller", capture=pcap([(when + 0.1, packet) for when, packet in arrived]))
    end_files(tmp_path, "callee", capture=pcap(sorted(sent + stream(CALLER, SERVER, ssrc=7, packets=200))))
    import_folder(tmp_path, tmp_path / "out")
    store = Dataset.open(tmp_path / "out")
    row = store.rows().set_index("direction").loc["to_caller"]
    assert (row["packets_sent"], row["packets_received"]) == (200, 197)
    assert row["loss_ratio"] == pytest.approx(3 / 200)
    trace = store.call(str(row["call_id"])).trace("to_caller")
    assert (~trace.arrived).sum() == 3
    assert "/" + "work" not in trace.source
    assert trace.source == row["source_capture"]


@pytest.mark.parametrize(
    ("recording", "doubt", "outcome"),
    [
        (wav_bytes(sound(26), declared=0), "recording header says 0 bytes", "completed"),
        (wav_bytes(sound(0)), "recording empty", "scorer_refused"),
        (b"", "recording empty", "scorer_refused"),
        (wav_bytes(sound(24)), "recording short", "completed"),
        (wav_bytes(sound(33)), "recording long", "completed"),
        (wav_bytes(np.zeros(8000 * 26, dtype=np.int16)), "not scored", "scorer_refused"),
    ],
)
@pytest.mark.parametrize("as_published", [False, True])
def test_recordings(tmp_path: Path, recording: bytes, doubt: str, outcome: str, as_published: bool) -> None:
    reference(tmp_path)
    end_files(tmp_path, capture=both_ways(), recording=recording)
    row = only_row(tmp_path, as_published=as_published)
    assert doubt in str(row["doubts"])
    assert row["outcome"] == outcome
    assert (row["mos_lqo"] is not None) == (outcome == "completed")


def test_a_longer_header_is_sound_as_published_and_only_then(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(wav_bytes(sound(26), list_chunk=True))
    right = read_recording(path, "x.wav", as_published=False)
    theirs = read_recording(path, "x.wav", as_published=True)
    assert len(right.samples) == 26 * 8000
    assert len(theirs.samples) == 26 * 8000 + 17  # 34 bytes of header scored as sound
    assert np.array_equal(theirs.samples[17:], right.samples)
    assert declared_bytes(path.read_bytes()) == 26 * 8000 * 2


def test_an_import_goes_on_where_it_was(tmp_path: Path) -> None:
    for iteration in (0, 1, 10, 100):
        end_files(tmp_path, capture=both_ways(), iteration=iteration)
    out = tmp_path / "out"
    first = import_folder(tmp_path, out)
    assert (first.calls_found, first.calls_imported) == (4, 4)
    times = {path.name: path.stat().st_mtime_ns for path in (out / "calls").iterdir()}
    end_files(tmp_path, capture=both_ways(), iteration=101)
    second = import_folder(tmp_path, out)
    assert (second.calls_imported, second.calls_already_there, second.rows) == (1, 4, 5)
    assert times.items() <= {path.name: path.stat().st_mtime_ns for path in (out / "calls").iterdir()}.items()
    assert second.doubts["recording missing"] == 5


def test_one_data_set_has_one_reading(tmp_path: Path) -> None:
    end_files(tmp_path, capture=both_ways())
    import_folder(tmp_path, tmp_path / "out")
    with pytest.raises(InputError, match="were imported not as published; import in the same way"):
        import_folder(tmp_path, tmp_path / "out", as_published=True)


def test_killed_at_any_moment_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    root, out = tmp_path / "in", tmp_path / "out"
    reference(root)
    for iteration in range(12):
        end_files(root, capture=both_ways(), recording=wav_bytes(sound(26)), iteration=iteration)
    script = (
        "from pathlib import Path; from earwitness.published.importing import import_folder\n"
        f"import_folder(Path({str(root)!r}), Path({str(out)!r}))"
    )
    for wait_for in (1, 3, 6):
        process = subprocess.Popen([sys.executable, "-c", script])
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if (out / "calls").is_dir() and len(list((out / "calls").iterdir())) >= wait_for:
                os.kill(process.pid, signal.SIGKILL)
                break
            time.sleep(0.005)
        process.wait()
    summary = import_folder(root, out)
    assert summary.calls_already_there >= 6
    rows = Dataset.open(out).rows()
    assert sorted(rows["iteration"]) == list(range(12))
    assert not (out / ".staging").is_dir() or not list((out / ".staging").iterdir())
    fresh = tmp_path / "fresh"
    import_folder(root, fresh)
    pd.testing.assert_frame_equal(rows, Dataset.open(fresh).rows())


def test_processes_give_what_one_gives(tmp_path: Path) -> None:
    root = tmp_path / "in"
    for iteration in range(6):
        end_files(root, capture=both_ways(packets=60), iteration=iteration)
    import_folder(root, tmp_path / "one")
    seen: list[Event] = []
    with ProcessPoolExecutor(2) as pool:
        import_folder(root, tmp_path / "two", executor=pool, on_event=seen.append)
    assert [(one.done, one.total) for one in seen if isinstance(one, Progress)] == [
        (number, 6) for number in range(1, 7)
    ]
    assert len(seen) == 6
    pd.testing.assert_frame_equal(Dataset.open(tmp_path / "one").rows(), Dataset.open(tmp_path / "two").rows())


def test_a_dead_worker_is_told_in_one_line(tmp_path: Path) -> None:
    end_files(tmp_path, capture=both_ways())
    with ProcessPoolExecutor(1) as pool:
        pool.submit(os._exit, 1)
        with pytest.raises(EarwitnessError, match="worker process died"):
            import_folder(tmp_path, tmp_path / "out", executor=pool)


def test_plain_pairs_and_copies(tmp_path: Path) -> None:
    root = tmp_path / "in"
    root.mkdir()
    (root / "call one.pcap").write_bytes(both_ways())
    (root / "call one.wav").write_bytes(wav_bytes(sound(26)))
    speech = tmp_path / "said.wav"
    speech.write_bytes(wav_bytes(sound(8)))
    import_folder(root, tmp_path / "out", reference=speech, copy_files=True)
    store = Dataset.open(tmp_path / "out")
    row = store.rows().iloc[0]
    assert (row["network"], row["source_capture"], row["speech"]) == ("imported", "call one.pcap", "said")
    assert "side unknown" in row["doubts"]
    stored = store.call(row["call_id"])
    assert np.array_equal(stored.heard("to_caller")[0], sound(26))
    assert stored.capture("caller").read_bytes() == (root / "call one.pcap").read_bytes()
    with pytest.raises(InputError, match="no such file"):
        import_folder(root, tmp_path / "again", reference=tmp_path / "gone.wav")


def test_export_writes_the_published_columns(tmp_path: Path) -> None:
    reference(tmp_path)
    delays = np.random.default_rng(1).gamma(2.0, 5.0, 300)
    end_files(tmp_path, status="Non-Tor", codec="opus", batch="b", location="9Osaka-UAE", iteration=10,
              capture=pcap(stream(SERVER, CALLER, payload_type=120, ticks=960, size=223, delays_ms=delays)),
              recording=wav_bytes(sound(26)))  # fmt: skip
    end_files(tmp_path, status="Non-Tor", codec="gsm", batch="b", capture=pcap(stream(CALLER, SERVER)))
    import_folder(tmp_path, tmp_path / "out", as_published=True)
    assert export_published(tmp_path / "out", tmp_path / "x.csv") == 2
    assert (tmp_path / "x.csv").read_text().splitlines()[0] == ",".join(COLUMNS)
    table = read_published_csv(tmp_path / "x.csv").set_index("codec")
    opus, gsm = table.loc["opus"], table.loc["gsm"]
    assert (opus["iteration_no"], opus["tor_status"], opus["location"]) == (10, "Non-tor", "9Osaka-UAE")
    row = Dataset.open(tmp_path / "out").rows().set_index("codec_claimed").loc["opus"]
    assert opus["caller_pesq_mos"] == round(row["mos_lqo"], 3)
    assert opus["caller_jitter_std_dev"] == row["jitter_sd_ms"]
    assert np.isnan(opus["callee_pesq_mos"])  # that end is not here
    assert gsm["caller_pesq_raw"] == gsm["caller_pesq_mos"] == 0  # a call that could not be scored
    assert np.isnan(gsm["caller_jitter_mean"])


def test_the_commands(tmp_path: Path) -> None:
    end_files(tmp_path / "in", capture=both_ways())
    runner = CliRunner()
    result = runner.invoke(
        app, ["import", str(tmp_path / "in"), "--out", str(tmp_path / "set"), "--as-published", "--json"]
    )
    assert result.exit_code == 0, result.output
    assert '"calls_imported": 1' in result.stdout
    result = runner.invoke(
        app, ["export", str(tmp_path / "set"), "--layout", "published", "--out", str(tmp_path / "x.csv")]
    )
    assert result.exit_code == 0, result.output
    assert len((tmp_path / "x.csv").read_text().splitlines()) == 2
