"""A stream of a capture is heard, rated and blamed as it was encoded, whatever SDP leaves open."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from earwitness.ear.buffers import buffer
from earwitness.ear.hear import hear
from earwitness.ear.listen import choose_stream, codec_of_stream
from earwitness.ear.offering import offer_of
from earwitness.ear.played import play, received
from earwitness.errors import InputError
from earwitness.replay.blame import blame
from earwitness.replay.estimating import estimate_streams
from earwitness.score.played import estimate_played
from earwitness.speech.codecs.base import encode_packets
from earwitness.speech.codecs.registry import codec
from earwitness.speech.reference import speech
from earwitness.trace.capture import parse_capture
from earwitness.trace.encoding import Encoding
from earwitness.trace.encryption import Encryption
from earwitness.trace.link_layer import Flow
from earwitness.trace.model import Payloads, Trace
from earwitness.trace.rtp import RtpPacket
from earwitness.trace.rtp_stream import RtpStream
from testing.ear.payloads import trace_with
from testing.ear.traces import START_NS, trace_of
from testing.trace.making import Datagram, invite, pcap

FLOW = Flow("10.0.0.1", 4000, "10.0.0.2", 4002)
SAID = speech("allison-10s").samples[: 3 * 8000]
SPECS = ("amr:4.75", "amr:7.4", "speex:quality=2", "speex:quality=8", "opus:8000")


def stream_of(trace: Trace, spec: str, fmtp: str = "", encryption: Encryption | None = None) -> RtpStream:
    of = codec(spec)
    meaning = Encoding(of.encoding_name, of.clock_rate, of.channels, fmtp)
    named = replace(trace, formats={of.payload_type: meaning})
    return RtpStream(named, FLOW, of.payload_type, of.name, meaning, "sdp", known_encryption=encryption or Encryption())


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("asked", [False, True])
def test_the_codec_of_a_stream_is_as_its_packets_show(spec: str, asked: bool) -> None:
    of: Any = codec(spec)
    found: Any = codec_of_stream(stream_of(trace_of(of, SAID), spec), of.name if asked else None)
    if of.name == "opus":
        assert found.bitrate == pytest.approx(of.bitrate, rel=0.2)
    else:
        assert found.spec == spec
    assert codec_of_stream(stream_of(trace_of(of, SAID), spec), "g711u:ptime=20").spec == "g711u", "options decide"


@pytest.mark.parametrize("spec", SPECS)
def test_an_estimate_without_factors_is_that_of_g711_and_says_so(spec: str) -> None:
    stream = stream_of(trace_of(codec(spec), SAID), spec)
    ear, known = buffer("fixed:60"), codec_of_stream(stream)
    found = estimate_played(play(received(stream.trace, known, ear), ear), known)
    assert found.mos_lqe == pytest.approx(4.41, abs=0.02)
    assert "rated as G.711: the network's part alone" in found.doubt


def test_blame_takes_the_codecs_part_from_the_same_mode() -> None:
    said = speech("allison-10s").samples
    of = codec("amr:4.75")
    stream = stream_of(trace_of(of, said), of.spec, "mode-set=0")
    found = blame(hear(stream.trace, codec_of_stream(stream), "fixed:60"), codec_of_stream(stream), said)
    assert found.parts["codec"] > 1.0
    assert abs(found.parts["sending"]) < 0.2


def test_packets_of_encrypted_streams_show_nothing() -> None:
    of = codec("speex:2")
    stream = stream_of(trace_of(of, SAID), of.spec, encryption=Encryption("SRTP", "sdp"))
    assert stream.encryption.certain
    assert codec_of_stream(stream).spec == "speex"
    of = codec("gsm")
    fixed = stream_of(trace_of(of, SAID), of.spec, encryption=Encryption("SRTP", "sdp"))
    empty = parse_capture(pcap([Datagram(START_NS, bytes(20), ("10.0.0.1", 53), ("10.0.0.2", 53))]))
    doubts = []
    for one in (stream, fixed):
        (estimated,) = estimate_streams(empty, [one], "fixed:60")
        found = estimated.quality
        assert found is not None
        doubts.append("do not tell their bit rate: taken for speex" in found.doubt)
    assert doubts == [True, False], "GSM has one rate"


def test_red_shows_its_primary_blocks() -> None:
    """RFC 2198 3: a header of 4 bytes for the copy, one of 1 byte for the primary block."""
    of = codec("speex:2")
    payloads = encode_packets(of, SAID)
    red = [
        bytes([0x80 | 97]) + (160 << 10 | len(before)).to_bytes(3, "big") + bytes([97]) + before + now
        for before, now in pairwise(payloads)
    ]
    trace = replace(
        trace_with(replace(of, payload_type=63), red, 160),  # type: ignore[type-var]
        formats={63: Encoding("red", 8000), 97: Encoding("speex", 8000)},
    )
    offer = offer_of(trace, 63, Encoding("speex", 8000))
    assert set(offer.payloads) <= set(payloads)
    assert offer.payload_bytes == len(payloads[0])
    stream = RtpStream(trace, FLOW, 63, "speex", Encoding("speex", 8000), "sdp")
    assert codec_of_stream(stream).spec == "speex:quality=2"


def test_a_mode_that_neither_sdp_nor_the_size_tells_is_asked_for() -> None:
    stream = stream_of(trace_with(codec("codec2"), [bytes(14)] * 50, 640), "codec2")
    for asked in (None, "codec2"):
        with pytest.raises(InputError, match=r"14 bytes.*name its mode"):
            codec_of_stream(stream, asked)
    assert codec_of_stream(stream, "codec2:1300").spec == "codec2:1300"


@pytest.mark.parametrize("kept", [0, 6])
def test_what_a_snap_length_left_is_enough(kept: int) -> None:
    of = codec("amr:4.75")
    trace = trace_of(of, SAID)
    assert trace.payloads is not None
    captured = np.minimum(trace.payloads.captured, kept).astype(np.int32)
    cut = replace(trace, payloads=Payloads(trace.payloads.data, trace.payloads.start, captured))
    assert codec_of_stream(stream_of(cut, of.spec)).spec == "amr:4.75"


@pytest.mark.parametrize("kbps", [24, 32])
def test_g726_under_the_wrong_name_is_heard_as_it_is_packed_and_said(kbps: int) -> None:
    sent = codec(f"g726:{kbps},aal2=1")
    packets = [RtpPacket(96, i, 160 * i, 7, payload) for i, payload in enumerate(encode_packets(sent, SAID))]
    datagrams = [Datagram(START_NS + i * 20_000_000, bytes(packet)) for i, packet in enumerate(packets)]
    offer = invite(f"m=audio 4000 RTP/AVP 96\r\na=rtpmap:96 G726-{kbps}/8000\r\n")
    capture = parse_capture(pcap([offer, *datagrams]))
    chosen = choose_stream(capture)
    assert chosen.codec == replace(sent, payload_type=96)  # type: ignore[type-var]
    assert chosen.heard.doubts == (f"named G726-{kbps}, its packets are speech as AAL2-G726-{kbps}: decoded as that",)
    asked = choose_stream(capture, codec=f"g726:{kbps},aal2=0")
    assert (asked.codec.spec, asked.heard.doubts) == (codec(f"g726:{kbps}").spec, ())
