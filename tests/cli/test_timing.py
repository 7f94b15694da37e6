"""`earwitness timing`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from earwitness.cli.main import app
from earwitness.errors import InputError
from testing.trace.making import PHONE, SERVER, invite, pcap, rtp_stream, together


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    back = rtp_stream("." * 40, ssrc=2, source=PHONE, destination=SERVER)
    path = tmp_path / "call.pcap"
    path.write_bytes(pcap(together(rtp_stream("." * 20 + "_____" + "." * 20, ssrc=1), back), snap_length=85))
    return path


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["timing", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_records_hold_every_definition_under_its_own_name(capture: Path) -> None:
    records = [json.loads(line) for line in run(capture, "--json").splitlines()]
    assert [record["ssrc"] for record in records] == ["0x00000001", "0x00000002"]
    (first, _) = records
    assert first["packets_received"] == 40
    assert first["spikes_with_pauses"] == first["spikes_without_pauses"] == 0
    assert {"jitter_mean_ms", "published_jitter_mean_ms", "wireshark_mean_jitter_ms", "owd_p50_ms"} <= first.keys()
    assert first["owd_p50_ms"] is None


def test_the_side_and_the_stream_choose(capture: Path) -> None:
    for chosen, ssrc in (
        (["--side", "caller"], 1),
        (["--side", "callee"], 2),
        (["--stream", "0x2"], 2),
        (["--address", "10.8.0.1"], 1),
    ):
        (record,) = [json.loads(line) for line in run(capture, "--json", *chosen).splitlines()]
        assert int(record["ssrc"], 16) == ssrc


def test_as_published_prints_the_six_statistics(capture: Path) -> None:
    text = run(capture, "--side", "caller", "--as-published")
    assert [line.split()[1] for line in text.splitlines()[1:]] == ["mean", "median", "max", "range", "iqr", "std_dev"]
    assert "0.000" in text


def test_the_table_names_pauses_and_bursts(capture: Path) -> None:
    text = run(capture, "--side", "caller", "--spike-ms", "100")
    assert "(1 with pauses counted)" in text
    assert "2 talkspurts" in text


def test_what_cannot_be_used_is_one_line_and_the_others_are_done(capture: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.pcap").write_bytes(b"hello")
    result = CliRunner().invoke(app, ["timing", str(tmp_path / "bad.pcap"), str(capture), "--json"])
    assert result.exit_code == 2
    assert len([line for line in result.stdout.splitlines() if line.startswith("{")]) == 2
    alone = CliRunner().invoke(app, ["timing", str(tmp_path / "bad.pcap")])
    assert isinstance(alone.exception, InputError)
    wrong = CliRunner().invoke(app, ["timing", str(capture), "--payload-type", "speex"])
    assert isinstance(wrong.exception, InputError)


def test_an_estimate_that_wants_a_codec_names_the_option_that_takes_it(tmp_path: Path) -> None:
    offer = invite("m=audio 4000 RTP/AVP 97\r\na=rtpmap:97 codec2/8000\r\n")
    path = tmp_path / "codec2.pcap"
    path.write_bytes(pcap([offer, *rtp_stream("." * 40, payload_type=97, payload=bytes(range(18)))]))
    (record,) = [json.loads(line) for line in run(path, "--json").splitlines()]
    assert "name its mode: hear --codec codec2:3200," in record["estimate"]["estimate_doubt"]
