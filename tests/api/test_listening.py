"""One direction of a call from Python: the same as the commands and the functions behind them, however it is given."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any, assert_type

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import earwitness as ew
from earwitness.cli.main import app
from earwitness.ear.hear import Heard
from earwitness.score.listening import Listening
from earwitness.speech.wav import write_wav
from earwitness.trace.timing import Timing
from testing.samples import CALLEE, CALLER


def same(one: Heard, other: Heard) -> bool:
    return np.array_equal(one.audio, other.audio) and one.shares == other.shares


def test_a_capture_may_be_given_in_any_way(samples: Path) -> None:
    file = samples / "call.pcap"
    capture = ew.read_capture(file)
    (stream,) = capture.received_by(CALLER[0])
    heard = ew.hear(file, buffer="fixed:60")
    assert_type(heard, Heard)
    assert heard.shares["late_ratio"] > 0  # the direction over Tor, not the even one of the phone's own packets
    for packets in (str(file), capture, stream):
        assert same(ew.hear(packets, buffer="fixed:60"), heard)
    for codec in ("g711u", ew.codec("g711u")):
        assert same(ew.hear(stream.trace, codec, "fixed:60"), heard)
    assert ew.hear(file, buffer="fixed:60", to=CALLEE[0]).shares["lost_ratio"] == 0


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"codec": None}, "its codec is unknown; give the codec"),
        ({"codec": "evs"}, "no codec has that name"),
        ({"codec": "g711u", "buffer": "elastic"}, "elastic"),
        ({"codec": "g711u", "to": "192.0.2.1"}, "a stream has one receiver"),
    ],
)
def test_what_cannot_be_heard_is_one_line(samples: Path, change: dict[str, Any], why: str) -> None:
    trace = ew.read_capture(samples / "call.pcap").streams[0].trace
    with pytest.raises(ew.EarwitnessError, match=why) as caught:
        ew.hear(trace, **change)
    assert "\n" not in str(caught.value)


def test_timing_is_that_of_the_command(samples: Path) -> None:
    capture = ew.read_capture(samples / "call.pcap")
    table = ew.time_capture(capture)
    assert_type(table, pd.DataFrame)
    printed = CliRunner().invoke(app, ["timing", str(samples / "call.pcap"), "--json"])
    records = [json.loads(line) for line in printed.stdout.splitlines()]
    assert list(table.columns) == list(records[0])
    assert table["jitter_mean_ms"].tolist() == [record["jitter_mean_ms"] for record in records]
    one = ew.timing(capture.streams[0])
    assert_type(one, Timing)
    assert one.jitter_mean_ms == table["jitter_mean_ms"][0] == ew.timing(capture.streams[0].trace).jitter_mean_ms
    assert len(ew.time_capture(samples / "call.pcap", address=CALLEE[0])) == 1
    assert len(ew.time_capture(samples / "call.pcap", stream=2)) == 1
    with pytest.raises(ew.EarwitnessError, match=r"no RTP stream from 198\.51\.100\.1"):
        ew.time_capture(capture, address="198.51.100.1")
    assert math.isnan(ew.timing(capture.streams[0].trace.take(np.array([], dtype=np.int64))).jitter_mean_ms)


def test_a_sound_may_be_given_in_any_way(samples: Path, tmp_path: Path) -> None:
    said = ew.speech("allison-10s")
    heard = ew.hear(samples / "call.pcap", buffer="fixed:200")
    found = ew.score(said, heard)
    assert_type(found, Listening)
    assert 1.0 < found.mos_lqo < 4.4
    write_wav(tmp_path / "heard.wav", heard.audio, heard.sample_rate)
    for reference in ("allison-10s", samples / "said.wav", (said.samples, 8000), ew.speech("allison-10s", 8000)):
        assert ew.score(reference, tmp_path / "heard.wav") == found
    assert ew.score(said, (heard.audio, heard.sample_rate)) == found
    assert ew.score(said, said).mos_lqo > 4.5


def test_sounds_of_two_rates_are_compared_at_the_lower(samples: Path) -> None:
    wide = ew.speech("allison-10s", 16000)
    assert ew.score(wide, ew.speech("allison-10s", 8000)).mos_lqo_wb is None
    both_wide = ew.score("allison-10s", wide)
    assert both_wide.mos_lqo_wb is not None
    assert both_wide.mos_lqo_wb > 4.5


def test_blame_is_shared_out(samples: Path) -> None:
    capture = ew.read_capture(samples / "call.pcap")
    blamed = ew.blame(capture, "allison-10s", buffer="fixed:60")
    assert sum(blamed.parts.values()) == pytest.approx(blamed.whole)
    assert blamed.parts["late"] > 0.1
    (stream,) = capture.received_by(CALLER[0])
    again = ew.blame(stream.trace, ew.speech("allison-10s", 16000), "g711u", "fixed:60")
    assert again.parts["late"] == pytest.approx(blamed.parts["late"], abs=0.1)


def test_what_a_notebook_shows(samples: Path) -> None:
    said = ew.speech("allison-10s")
    for shown in (said, ew.hear(samples / "call.pcap", buffer="fixed:60")):
        assert shown._repr_html_().startswith('<audio controls src="data:audio/flac;base64,')
    hour = dataclasses.replace(said, samples=np.resize(said.samples, 3600 * 8000))
    assert hour._repr_html_().endswith("</audio> the first 300 s")
