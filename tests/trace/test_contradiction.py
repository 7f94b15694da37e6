"""A guessed codec that the packets contradict is none: heard as that, they would be noise with a good score."""

from __future__ import annotations

import numpy as np
import pytest

from earwitness.speech.codecs.base import encode_packets
from earwitness.speech.codecs.registry import codec
from earwitness.trace.capture import parse_capture
from earwitness.trace.rtp import RtpPacket
from earwitness.trace.rtp_stream import RtpStream
from testing.trace.making import START_NS, Datagram, pcap

PACKETS = 200


def stream_of(payloads: list[bytes], ticks: int, clock: int) -> RtpStream:
    """The stream of these payloads without any description, of type 97, each so many ticks after the one before."""
    sent = [
        Datagram(
            START_NS + i * ticks * 1_000_000_000 // clock,
            bytes(RtpPacket(payload_type=97, sequence=i, timestamp=i * ticks, ssrc=7, payload=payload)),
        )
        for i, payload in enumerate(payloads)
    ]
    (stream,) = parse_capture(pcap(sent)).streams
    return stream


def noise(size: int, seed: int = 0) -> list[bytes]:
    random = np.random.default_rng(seed)
    return [random.bytes(size) for _ in range(PACKETS)]


def plain_sound(size: int) -> list[bytes]:
    """Samples of 16 bits, of a tone: no random bytes."""
    tone = np.rint(8000 * np.sin(np.arange(PACKETS * size // 2) * 0.05)).astype(">i2").tobytes()
    return [tone[i * size : (i + 1) * size] for i in range(PACKETS)]


@pytest.mark.parametrize(
    ("payloads", "ticks"),
    [(noise(1100), 6144), (noise(1100), 1024), (plain_sound(730), 365), (plain_sound(480), 240), (noise(200), 9600)],
    ids=["AAC of six frames", "AAC", "L16 by the MTU", "L16 of 5 ms", "200 ms"],
)
def test_what_no_opus_packet_is_is_not_guessed_to_be_opus(payloads: list[bytes], ticks: int) -> None:
    stream = stream_of(payloads, ticks, 48_000)
    assert (stream.codec, stream.codec_from, stream.trace.clock_rate) == ("", "unknown", 48_000)
    assert stream.doubts[0].startswith("payload type 97 unknown, with an RTP clock of 48000 Hz; not opus: ")


@pytest.mark.parametrize(
    ("payloads", "ticks"),
    [(noise(1024), 2048), (plain_sound(320), 160)],
    ids=["G.726 by the MTU", "L16 of 20 ms"],
)
def test_what_no_speex_packet_is_is_not_guessed_to_be_speex(payloads: list[bytes], ticks: int) -> None:
    stream = stream_of(payloads, ticks, 8000)
    assert (stream.codec, stream.codec_from, stream.trace.clock_rate) == ("", "unknown", 8000)


@pytest.mark.parametrize(("name", "clock"), [("opus", 48_000), ("speex", 8000)])
def test_the_codec_itself_stays_guessed(name: str, clock: int) -> None:
    of = codec(name)
    sound = np.random.default_rng(1).normal(0, 3000, of.sample_rate * PACKETS // 50).astype(np.int16)
    stream = stream_of(encode_packets(of, sound), clock // 50, clock)
    assert (stream.codec, stream.codec_from) == (name, "guessed")


@pytest.mark.parametrize(("name", "clock"), [("opus", 48_000), ("speex", 8000)])
def test_packets_that_look_encrypted_keep_their_guess(name: str, clock: int) -> None:
    """Their bytes say nothing, and their timestamps fit."""
    stream = stream_of(noise(100), clock // 50, clock)
    assert (stream.codec, stream.codec_from) == (name, "guessed")
    assert stream.encryption.kind
