"""Blame on traces with one known cause each: it must land on that cause."""

from __future__ import annotations

import random
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from earwitness.archive.dataset import Dataset
from earwitness.cli.main import app
from earwitness.ear.hear import Heard, hear
from earwitness.errors import InputError
from earwitness.replay.blame import CAUSES, Blame, blame
from earwitness.replay.blame_calls import PARTS
from earwitness.replay.blame_sounds import Ideal, reassembled, said_in
from earwitness.report.blame import report_blame
from earwitness.score.kind import ScorerRefused
from earwitness.score.listening import listening_quality, loopback
from earwitness.speech.codecs.registry import codec as codec_named
from earwitness.speech.reference import speech
from earwitness.trace.model import Trace
from testing.ear.traces import trace_of
from testing.report.synthetic import Made, add_call

G711 = codec_named("g711u")
SAID = speech("allison-10s", 8000, seconds=8.0).samples
PACKETS = len(SAID) // 160
SOME = sorted(random.Random(5).sample(range(20, PACKETS - 20), PACKETS // 20))
"""One packet in twenty."""
NEXT_TO_NOTHING = 0.06
"""MOS-LQO: what PESQ moves by for the same sound a few samples earlier."""


def blamed(trace: Trace, buffer: str, spec: str = "g711u", concealment: str | None = None) -> tuple[Blame, Heard]:
    codec = codec_named(spec)
    said = speech("allison-10s", codec.sample_rate, seconds=8.0).samples
    heard = hear(trace, codec, buffer, concealment=concealment)
    return blame(heard, codec, said), heard


def others(found: Blame, *causes: str) -> float:
    """The largest part of any cause but these and the codec."""
    return max(abs(part) for name, part in found.parts.items() if name not in (*causes, "codec"))


def test_with_nothing_wrong_only_the_codec_is_to_blame() -> None:
    found, heard = blamed(trace_of(G711, SAID), "fixed:60")
    assert found.reference_mos == pytest.approx(4.549, abs=0.001)
    assert found.parts["codec"] == found.reference_mos - loopback(G711, SAID).pesq.mos_lqo
    assert others(found) < NEXT_TO_NOTHING
    assert found.mos_lqo == listening_quality(SAID, heard.audio, 8000).pesq.mos_lqo


def test_only_loss_is_blamed_on_loss_and_concealment_gives_some_back() -> None:
    found, _ = blamed(trace_of(G711, SAID, lost=SOME), "fixed:60")
    assert found.parts["loss"] > 0.5
    assert found.parts["concealment"] < -0.1
    assert found.parts["loss"] + found.parts["concealment"] > 0.2
    assert found.parts["late"] == 0.0
    assert others(found, "loss", "concealment") < NEXT_TO_NOTHING
    assert "lost packets took" in found.sentence


def test_late_packets_cost_what_the_same_packets_cost_when_lost() -> None:
    delays = [200.0 if packet in SOME else 30.0 for packet in range(PACKETS)]
    late, heard = blamed(trace_of(G711, SAID, delay_ms=delays), "fixed:60")
    lost, _ = blamed(trace_of(G711, SAID, lost=SOME), "fixed:60")
    assert heard.shares["late_ratio"] == pytest.approx(len(SOME) / PACKETS)
    assert late.parts["loss"] == 0.0
    assert late.parts["late"] == lost.parts["loss"]
    assert late.parts["concealment"] == pytest.approx(lost.parts["concealment"], abs=NEXT_TO_NOTHING)
    assert others(late, "late", "concealment") < NEXT_TO_NOTHING
    assert "too late to play took" in late.sentence


def test_silence_for_what_is_missing_leaves_nothing_to_blame_on_concealment() -> None:
    found, _ = blamed(trace_of(G711, SAID, lost=SOME), "fixed:60", concealment="silence")
    assert found.parts["concealment"] == 0.0


def test_a_moving_delay_with_every_packet_played_is_blamed_on_adaptation_and_misalignment() -> None:
    # Every second the network takes 60 ms more or less; a buffer that only ever waits plays every frame.
    delays = [30.0 + 60.0 * (packet // 50) for packet in range(PACKETS)]
    found, heard = blamed(trace_of(G711, SAID, delay_ms=delays), "pjmedia", concealment="silence")
    assert heard.shares["played_ratio"] == 1.0
    assert found.parts["loss"] == found.parts["late"] == found.parts["concealment"] == 0.0
    assert found.parts["adaptation"] + found.parts["misalignment"] > 0.2
    assert abs(found.parts["sending"]) < NEXT_TO_NOTHING


def test_what_silence_suppression_leaves_out_is_blamed_on_the_far_phone() -> None:
    # The faint sounds between words are not sent.
    loud = np.abs(SAID.reshape(-1, 160).astype(np.int32)).max(axis=1) > 1500
    pauses = [(packet, packet + 1) for packet in np.flatnonzero(~loud).tolist()]
    found, _ = blamed(trace_of(G711, SAID, pauses=pauses), "fixed:60")
    assert found.parts["sending"] > 1.0
    assert found.parts["loss"] == found.parts["late"] == 0.0
    # A phone that cannot know yet that the speaker pauses makes something up, which is no adaptation.
    assert abs(found.parts["adaptation"]) < NEXT_TO_NOTHING


def test_loss_is_found_in_a_capture_at_the_receiver_alone() -> None:
    whole = trace_of(G711, SAID, lost=SOME)
    known, _ = blamed(whole, "fixed:60")
    found, _ = blamed(whole.take(whole.arrived), "fixed:60")
    assert found.notes
    assert found.parts["loss"] == pytest.approx(known.parts["loss"], abs=0.1)
    assert abs(found.parts["sending"]) < 0.1


@pytest.mark.parametrize(
    ("spec", "buffer"),
    [("g711u", "pjmedia"), ("gsm", "adaptive"), ("speex", "pjmedia"), ("opus:24000,fec=1,loss=10", "adaptive")],
)
def test_the_parts_sum_to_the_whole(spec: str, buffer: str) -> None:
    codec = codec_named(spec)
    said = speech("allison-10s", codec.sample_rate, seconds=8.0).samples
    rng = np.random.default_rng(3)
    delays = 40.0 + rng.gamma(1.2, 45.0, PACKETS)
    found, _ = blamed(trace_of(codec, said, delay_ms=delays.tolist(), lost=SOME[:5]), buffer, spec)
    assert list(found.parts) == list(CAUSES)
    assert sum(found.parts.values()) == pytest.approx(found.reference_mos - found.mos_lqo, abs=1e-9)
    assert found.to_dict()["blame_whole"] == found.whole
    again, _ = blamed(trace_of(codec, said, delay_ms=delays.tolist(), lost=SOME[:5]), buffer, spec)
    assert again == found


@pytest.mark.parametrize("buffer", ["fixed:60", "pjmedia"])
def test_an_even_call_put_back_in_its_place_is_what_was_sent(buffer: str) -> None:
    heard = hear(trace_of(G711, SAID), G711, buffer)
    ideal = Ideal(heard, SAID, 160)
    back = reassembled(heard, ideal.first, ideal.length)
    # PJMEDIA's first frame rises from silence, and its last 5 ms stay in the phone.
    inner = slice(80, -40) if buffer == "pjmedia" else slice(None)
    assert np.array_equal(back[inner], ideal.all_sent()[inner])
    assert np.array_equal(ideal.all_sent(), ideal.all_played())


def test_speech_that_waits_between_words_is_put_back_sample_for_sample() -> None:
    pauses = [(150, 200)]
    delays = [30.0] * 150 + [130.0] * (PACKETS - 200)
    heard = hear(trace_of(G711, SAID, pauses=pauses, delay_ms=delays), G711, "pjmedia", concealment="silence")
    ideal = Ideal(heard, SAID, 160)
    assert np.array_equal(reassembled(heard, ideal.first, ideal.length), ideal.all_sent())


@pytest.mark.parametrize("begin", [0, 777, 40_000])
def test_what_was_said_is_found_in_the_loop(begin: int) -> None:
    looped = np.resize(np.roll(SAID, -begin), len(SAID) + 9000)
    noisy = looped + np.random.default_rng(1).integers(-60, 60, len(looped), dtype=np.int16)
    assert np.array_equal(said_in(noisy, SAID), looped)


def test_what_was_said_once_is_not_taken_for_a_loop() -> None:
    sound = np.concatenate((np.zeros(500, dtype=np.int16), SAID, np.zeros(9000, dtype=np.int16)))
    assert np.array_equal(said_in(sound, SAID), sound)


def test_another_speech_than_the_one_given_is_noticed() -> None:
    speex = codec_named("speex")
    heard = hear(trace_of(speex, SAID), speex, "fixed:60")
    assert blame(heard, speex, SAID).notes == ()
    other = blame(heard, speex, speech("carlo-10s", 8000, seconds=8.0).samples)
    assert "does not sound like the given speech" in other.notes[0]


def test_timestamps_that_begin_anew_cost_nothing() -> None:
    trace = trace_of(G711, SAID)
    late = np.where(np.arange(len(trace)) > 200, trace.timestamp + 8000 * 3600, trace.timestamp)
    found, _ = blamed(replace(trace, timestamp=late), "pjmedia")
    assert found.parts == blamed(trace, "pjmedia")[0].parts
    assert any("timestamps jump once" in note for note in found.notes)


def test_a_data_sets_blame_is_the_same_bytes_whatever_the_workers(tmp_path: Path) -> None:
    with Dataset.open_or_create(tmp_path / "set", durable=False) as store:
        add_call(store, Made("call-1", "tor", 3, seconds=4.0))
        add_call(store, Made("call-2", "tor", 2, "opus:24000", seconds=4.0))

    def files(name: str, executor: Executor | None) -> dict[str, bytes]:
        report = report_blame(tmp_path / "set", out=tmp_path / name, executor=executor)
        table = report.found.calls
        assert (table["refused"] == "").all()
        assert set(table["buffer"]) == {"fixed:60"}  # as the calls were heard
        sums = table[list(PARTS)].sum(axis=1)
        assert np.allclose(sums, table["blame_whole"], rtol=0, atol=1e-9)
        summary = report.found.summary
        assert np.allclose(summary[list(PARTS)].sum(axis=1), summary["blame_whole"], rtol=0, atol=1e-9)
        return {path.name: path.read_bytes() for path in report.files}

    with ProcessPoolExecutor(2) as pool:
        assert files("two", pool) == files("one", None)


def test_a_call_in_which_nothing_can_be_scored_says_why() -> None:
    silent = trace_of(G711, np.zeros(16_000, dtype=np.int16))
    with pytest.raises(ScorerRefused):
        blame(hear(silent, G711, "fixed:60"), G711, SAID)


def test_the_command_needs_to_know_what_was_said(tmp_path: Path) -> None:
    capture = tmp_path / "call.pcap"
    capture.write_bytes(b"")
    result = CliRunner().invoke(app, ["blame", str(capture)])
    assert isinstance(result.exception, InputError)
    assert "--reference" in str(result.exception)
