"""Each codec of telephone networks is heard, through packets and a buffer, as its decoder plays it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from earwitness.ear.buffers import buffer
from earwitness.ear.hear import hear
from earwitness.speech.codecs.base import decode_packets, packet_of, packet_samples
from earwitness.speech.codecs.registry import CODEC_NAMES, codec, kind_of
from testing.ear.payloads import trace_with
from testing.ear.traces import packets, trace_of, voice
from testing.speech.encodable import encodable, why_not

MORE = ("g726:16,aal2=1", "amr:4.75,octet=1", "amr-wb:23.85", "l16:44100", "l16:8000,channels=2", "codec2:1300")


@pytest.mark.parametrize("spec", encodable((*CODEC_NAMES, *MORE)))
def test_what_is_heard_is_the_loopback(spec: str) -> None:
    of = codec(spec)
    said = voice(1.5, of.sample_rate)
    plain = decode_packets(of, packets(of, said))
    heard = hear(trace_of(of, said), of, buffer("fixed:60"))
    assert heard.sample_rate == of.sample_rate
    frame = len(heard.audio) // len(heard.account.source)
    begin = int(np.flatnonzero(heard.account.source == 0)[0]) * frame
    assert np.array_equal(heard.audio[begin : begin + len(plain)], plain)


@pytest.mark.parametrize("spec", encodable((*CODEC_NAMES, "codec2:1300")))
@pytest.mark.parametrize("concealment", ["codec", "wsola"])
def test_a_lost_packet_is_concealed_and_what_follows_is_in_its_place(spec: str, concealment: str) -> None:
    of = codec(spec)
    said = voice(1.5, of.sample_rate)
    whole = hear(trace_of(of, said), of, buffer("fixed:60")).audio.astype(float)
    gap = hear(trace_of(of, said, lost=[20]), of, buffer("fixed:60"), concealment=concealment).audio.astype(float)
    assert gap.shape == whole.shape
    assert np.isfinite(gap).all()
    assert not np.array_equal(gap, whole)
    tail = slice(-of.sample_rate // 4, None)
    assert np.std(gap[tail]) == pytest.approx(np.std(whole[tail]), rel=0.25), "the decoder is back to what was said"


CUT = ("g711u", "l16:11025", "g722", "g726:16", "g726:24", "g726", "g726:40,aal2=1")


@pytest.mark.parametrize("spec", CUT)
@pytest.mark.parametrize("size", [19, 41, 81, 83])
def test_packets_of_any_size_are_cut_where_the_codec_permits(spec: str, size: int) -> None:
    of, rng = codec(spec), np.random.default_rng(size)
    samples = of.samples_in(bytes(size))
    payloads = [rng.bytes(size) for _ in range(60)]
    heard = hear(trace_with(of, payloads, samples), of, buffer("fixed:60"))
    assert heard.shares["lost_ratio"] == 0.0
    assert heard.played.frames.codecs[0].frame_samples % kind_of(of).grain == 0
    assert samples % kind_of(of).grain == 0


@pytest.mark.parametrize("spec", CUT)
def test_a_long_hold_coarsens_the_grid_to_what_the_codec_permits(spec: str) -> None:
    of, hold_s = codec(spec), 23 * 60
    samples, rng = packet_samples(of), np.random.default_rng(1)
    size = next(size for size in range(2000) if of.samples_in(bytes(size)) >= samples)
    trace = trace_with(of, [rng.bytes(size) for _ in range(800)], samples)
    late = np.arange(len(trace)) >= len(trace) // 2
    held = replace(
        trace,
        timestamp=trace.timestamp + late * hold_s * of.clock_rate,
        sent_ns=trace.sent_ns + late * hold_s * 1_000_000_000,
    ).with_arrivals(trace.arrived_ns + late * hold_s * 1_000_000_000)
    heard = hear(held, of, buffer("fixed:60"))
    assert heard.played.frames.codecs[0].frame_samples % kind_of(of).grain == 0
    assert heard.shares["lost_ratio"] == 0.0


@pytest.mark.parametrize("spec", [*CUT, *(one for one in (*CODEC_NAMES, *MORE) if one not in ("opus", *CUT))])
def test_packets_of_more_than_300_ms_are_told(spec: str) -> None:
    if why_not(spec):
        pytest.skip(why_not(spec))
    of = codec(spec)
    together = -(-2 * of.sample_rate // 5 // of.frame_samples)
    encoder, said = of.encoder(), voice(12.0, of.sample_rate)
    frames = [encoder.encode(said[at : at + of.frame_samples]) for at in range(0, len(said) - 5000, of.frame_samples)]
    payloads = [packet_of(of, frames[at : at + together]) for at in range(0, len(frames) - together, together)]
    heard = hear(trace_with(of, payloads, together * of.frame_samples), of, buffer("fixed:60"))
    assert f"{len(payloads)} packets claim to hold more than 300 ms" in "; ".join(heard.notes)
