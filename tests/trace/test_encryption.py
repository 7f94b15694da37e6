"""Encrypted streams are recognised, and clear ones of every codec are not taken for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earwitness.speech.codecs.base import encode_packets
from earwitness.speech.codecs.registry import codec
from earwitness.speech.reference import speech
from earwitness.trace.appearance import Appearance, appearance_of
from earwitness.trace.container import parse_records
from earwitness.trace.encoding import Encoding
from earwitness.trace.encryption import encryption_of, key_exchanges, no_sound
from earwitness.trace.gather import gather
from earwitness.trace.link_layer import Flow
from earwitness.trace.model import Trace
from earwitness.trace.rtp import RtpPacket
from earwitness.trace.timing import summarise
from testing.ear.redundancy import trace_of_packets
from testing.trace.encrypted import (
    capture_of,
    dtls_record,
    encrypted,
    inline,
    master_key,
    rtp_of,
    sdp,
    streams_of,
    zrtp,
)
from testing.trace.making import PHONE, SERVER, START_NS, Datagram, invite, pcap, rtp_stream

FLOW = Flow(*SERVER, *PHONE)
KEY = f"1 AES_CM_128_HMAC_SHA1_80 {inline(master_key())}"
ENCODINGS = {
    "g711u": Encoding("PCMU", 8000),
    "g711a": Encoding("PCMA", 8000),
    "gsm": Encoding("GSM", 8000),
    "speex": Encoding("speex", 8000),
    "opus": Encoding("opus", 48000, 2),
}
L16 = Encoding("L16", 8000)


def trace_of(payloads: Sequence[bytes], encoding: Encoding) -> Trace:
    return trace_of_packets([RtpPacket.parse(packet) for packet in rtp_of(payloads)], {0: encoding})


def sounds() -> dict[str, np.ndarray]:
    rng, t = np.random.default_rng(5), np.arange(80_000) / 8000
    chord = sum(np.sin(2 * np.pi * f * t) for f in (220, 277, 330, 440, 554))
    return {
        "speech": speech("allison-10s").samples,
        "silence": np.zeros(80_000, dtype=np.int16),
        "loud noise": np.clip(rng.normal(0, 9000, 80_000), -32768, 32767).astype(np.int16),
        "quiet noise": rng.normal(0, 20, 80_000).astype(np.int16),
        "full-scale noise": rng.integers(-32768, 32768, 80_000).astype(np.int16),
        "laplacian noise": np.clip(rng.laplace(0, 4000, 80_000), -32768, 32767).astype(np.int16),
        "loud music": np.clip(chord * 12_000, -32768, 32767).astype(np.int16),
    }


@pytest.mark.parametrize("spec", ENCODINGS)
def test_no_clear_sound_of_any_length_looks_encrypted(spec: str) -> None:
    for name, samples in sounds().items():
        payloads = encode_packets(codec(spec), samples)
        for count in (3, 10, 25, 200):
            for first in range(0, len(payloads) - count + 1, 4 * count):
                for cut in (None, 31):
                    part = [payload[:cut] for payload in payloads[first : first + count]]
                    assert appearance_of(trace_of(part, ENCODINGS[spec]))[0] is not Appearance.RANDOM, (
                        name,
                        count,
                        first,
                    )


@pytest.mark.parametrize("encoding", [*ENCODINGS.values(), L16, Encoding("G729", 8000), Encoding("AMR", 8000)], ids=str)
@pytest.mark.parametrize("count", [50, 500])
def test_random_payloads_look_encrypted(encoding: Encoding, count: int) -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        trace = trace_of([rng.bytes(170) for _ in range(count)], encoding)
        assert appearance_of(trace)[0] is Appearance.RANDOM, seed


@pytest.mark.parametrize("spec", ENCODINGS)
def test_encrypted_speech_looks_encrypted_whatever_was_said(spec: str) -> None:
    for samples in sounds().values():
        payloads = encode_packets(codec(spec), samples[:16_000])
        sent = [Datagram(START_NS, packet) for packet in rtp_of(payloads)]
        trace = trace_of([d.payload[12:] for d in encrypted(sent, master_key())], ENCODINGS[spec])
        assert appearance_of(trace)[0] is Appearance.RANDOM


def test_too_few_or_too_short_or_repeated_payloads_show_nothing() -> None:
    rng = np.random.default_rng(1)
    block = rng.bytes(160)
    for payloads in ([], [block] * 500, [rng.bytes(160) for _ in range(5)], [rng.bytes(2) for _ in range(500)], [b""]):
        assert appearance_of(trace_of(payloads or [b""], ENCODINGS["g711u"]))[0] is Appearance.OPEN


def test_the_parity_of_g729_and_the_last_bit_of_ilbc_are_what_their_standards_say() -> None:
    rng = np.random.default_rng(2)
    frames = []
    for _ in range(100):
        bits = int.from_bytes(rng.bytes(10))
        delay = (bits >> 54) & 0xFF
        # G.729 3.7.2: the six highest bits of P1 and P0 are together odd in number.
        parity = ((delay >> 2).bit_count() + 1) & 1
        bits = bits & ~(1 << 53) | parity << 53
        frames.append(bits.to_bytes(10))
    clear = trace_of([frames[i] + frames[i + 1] for i in range(0, 100, 2)], Encoding("G729", 8000))
    assert appearance_of(clear) == (Appearance.CLEAR, False)
    ilbc = [rng.bytes(37) + bytes([int(rng.integers(128)) * 2]) for _ in range(50)]
    assert appearance_of(trace_of(ilbc, Encoding("iLBC", 8000))) == (Appearance.CLEAR, False)


def padded(seed: int, payload_bytes: int = 100, every: int = 5, count: int = 300) -> list[Datagram]:
    """A stream of ciphertext in which every fifth header says that there is padding, as WebRTC's do."""
    rng = np.random.default_rng(seed)
    packets = [RtpPacket(111, i, 960 * i, 7, rng.bytes(payload_bytes)) for i in range(count)]
    wire = [bytes(packet) for packet in packets]
    marked = [bytes([data[0] | 0x20]) + data[1:] if i % every == 0 else data for i, data in enumerate(wire)]
    return [Datagram(START_NS + i * 20_000_000, data) for i, data in enumerate(marked)]


OPUS = "m=audio 4000 {} 111\r\na=rtpmap:111 opus/48000/2\r\n"


@pytest.mark.parametrize("size", [20, 100, 250, 1200])
@pytest.mark.parametrize("profile", ["UDP/TLS/RTP/SAVPF", "RTP/AVP"])
def test_the_last_byte_of_srtp_is_no_count_of_padding(profile: str, size: int) -> None:
    """Neither where the SDP says that it is SRTP, nor where only the counts show that they are none."""
    (stream,) = capture_of([invite(OPUS.format(profile)), *padded(3, size)]).streams
    assert summarise(stream.trace).packets_lost == 0
    if profile != "RTP/AVP" or size < 250:
        assert set(stream.trace.size.tolist()) == {size}
    assert stream.trace.payloads is not None
    assert stream.trace.payloads.captured.tolist() == stream.trace.size.tolist()


def test_the_padding_of_clear_rtp_is_no_payload_though_a_packet_is_damaged() -> None:
    rng = np.random.default_rng(4)
    wire = [bytes(RtpPacket(0, i, 160 * i, 7, rng.bytes(160), padding=4 * (i % 5 == 0))) for i in range(200)]
    wire[50] = wire[50][:-1] + b"\xff"
    (stream,) = capture_of([Datagram(START_NS + i * 20_000_000, data) for i, data in enumerate(wire)]).streams
    assert len(stream.trace) == 200
    assert np.flatnonzero(stream.trace.size != 160).tolist() == [50]


# -- what is said -------------------------------------------------------------------------------------------------


def clear(count: int = 50) -> list[Datagram]:
    payloads = encode_packets(codec("g711u"), sounds()["speech"])
    return [
        replace(d, payload=d.payload[:12] + payload)
        for d, payload in zip(rtp_stream("." * count), payloads[:count], strict=True)
    ]


def answered(text: str) -> Datagram:
    return replace(invite(text), source=("10.8.0.1", 5060), destination=("10.8.0.2", 5060))


def verdict(*datagrams: Datagram) -> tuple[str, str, str]:
    capture = capture_of(sorted(datagrams, key=lambda d: d.time_ns))
    ((trace, flow, _),) = streams_of(capture.udp)
    found = encryption_of(trace, flow, capture.sdp, key_exchanges(capture.udp))
    return found.kind, found.basis, found.doubt


SECRET = encrypted(clear(), master_key())
HERE, THERE = (4000, "10.8.0.2"), (20848, "10.8.0.1")


def said(end: tuple[int, str], profile: str, crypto: Sequence[str] = ()) -> str:
    return sdp(end[0], profile, end[1], crypto)


@pytest.mark.parametrize("profile", ["RTP/SAVP", "RTP/SAVPF", "UDP/TLS/RTP/SAVP", "UDP/TLS/RTP/SAVPF"])
def test_a_profile_of_either_end_says_that_rtp_is_encrypted(profile: str) -> None:
    for end in (HERE, THERE):
        assert verdict(invite(said(end, profile)), *SECRET) == ("SRTP", "sdp", "")
        assert verdict(invite(said(end, profile)), *SECRET[:3]) == ("SRTP", "sdp", "")


def test_a_key_in_plain_rtp_counts_unless_the_other_end_has_none() -> None:
    offer, plain = invite(said(HERE, "RTP/AVP", [KEY])), answered(said(THERE, "RTP/AVP"))
    accepted = answered(said(THERE, "RTP/AVP", [KEY]))
    assert verdict(offer, accepted, *SECRET[:3]) == ("SRTP", "sdp", "")
    assert verdict(offer, plain, *SECRET[:3]) == ("", "", "")
    assert verdict(offer, plain, *clear()) == ("", "", "")
    assert verdict(offer, plain, *SECRET) == ("SRTP", "randomness", "")


@pytest.mark.parametrize("end", [HERE, THERE])
def test_a_key_in_plain_rtp_whose_answer_was_not_captured_is_an_offer(end: tuple[int, str]) -> None:
    offer = invite(said(end, "RTP/AVP", [KEY]))
    assert verdict(offer, *SECRET) == ("SRTP", "sdp", "")
    assert verdict(offer, *clear()) == ("", "", "")
    unanswered = ("SRTP", "sdp", "it was offered, and nothing shows whether it was accepted")
    assert verdict(offer, *SECRET[:3]) == unanswered
    # Where both ends have the same port, one end's offer is not the other's answer.
    at_both: list[Datagram] = [replace(one, source=(SERVER[0], 4000)) for one in SECRET[:3]]
    same = invite(said((4000, end[1]), "RTP/AVP", [KEY]))
    assert verdict(same, *at_both) == unanswered


def test_ends_that_contradict_each_other_are_a_doubt_that_the_payload_resolves() -> None:
    one, other = invite(said(HERE, "RTP/SAVP", [KEY])), answered(said(THERE, "RTP/AVP"))
    assert verdict(one, other, *SECRET) == ("SRTP", "sdp", "")
    assert verdict(one, other, *clear()) == ("", "", "")
    assert verdict(one, other, *SECRET[:3])[2] == "it was offered, and nothing shows whether it was accepted"


def test_a_clear_payload_is_not_encrypted_whatever_the_sdp_says() -> None:
    kind, basis, doubt = verdict(invite(said(HERE, "RTP/SAVP", [KEY])), *clear())
    assert (kind, basis) == ("", "sdp")
    assert doubt == "its SDP says that it is encrypted, but its payload is not"


def test_a_random_payload_is_recognised_where_nothing_says_so_and_where_the_sdp_says_plain() -> None:
    assert verdict(*SECRET) == ("SRTP", "randomness", "")
    assert verdict(invite(said(HERE, "RTP/AVP")), *SECRET) == ("SRTP", "randomness", "")
    assert verdict(*clear()) == ("", "", "")
    assert verdict(*SECRET[:3]) == ("", "", "")


def test_where_only_the_look_of_a_compressed_payload_says_it_it_is_a_doubt() -> None:
    rng = np.random.default_rng(3)
    trace = trace_of([rng.bytes(60) for _ in range(50)], ENCODINGS["opus"])
    found = encryption_of(trace, FLOW)
    assert (found.kind, found.basis, found.certain) == ("SRTP", "randomness", False)
    assert str(found) == "perhaps encrypted (SRTP): its payload looks random, as some codecs' does"
    # SDP that says plain RTP is believed sooner than that.
    plain = capture_of([invite(said(HERE, "RTP/AVP")), *clear()]).sdp
    assert not encryption_of(trace, FLOW, plain).kind


def test_a_finished_dtls_handshake_says_it_and_a_started_one_leaves_it_to_the_payload() -> None:
    hello = Datagram(START_NS - 9 * 10**8, dtls_record(22), PHONE, SERVER)
    flight = dtls_record(22, bytes(60)) + dtls_record(20, b"\1") + dtls_record(22, bytes(40), epoch=1)
    finished = Datagram(START_NS - 8 * 10**8, flight, SERVER, PHONE)
    assert verdict(hello, finished, *SECRET[:3]) == ("SRTP", "dtls", "")
    assert verdict(hello, *SECRET) == ("SRTP", "dtls", "")
    assert verdict(hello, *clear()) == ("", "", "")
    answered = Datagram(START_NS - 8 * 10**8, dtls_record(22, b"\2" + bytes(50)), SERVER, PHONE)  # as in DTLS 1.3
    assert verdict(hello, answered, *SECRET[:3]) == ("SRTP", "dtls", "")
    damaged = Datagram(START_NS - 8 * 10**8, dtls_record(22, b"\2" + bytes(50), version=0x0303), SERVER, PHONE)
    assert verdict(damaged, *SECRET[:3]) == ("", "", "")


def test_key_exchanges_are_kept_of_a_file_that_is_read_in_pieces() -> None:
    hello = Datagram(START_NS - 9 * 10**8, dtls_record(22, b"\2" + bytes(50)), SERVER, PHONE)
    name = Datagram(START_NS - 8 * 10**8, b"\x16\x01" + bytes(60), PHONE, ("10.8.0.9", 53))
    whole = parse_records(np.frombuffer(pcap([hello, name, *SECRET[:3]]), dtype=np.uint8))
    pieces = iter([replace(whole, complete=False), replace(whole, complete=False)])
    found = gather(pieces, "x").udp
    assert len(found) == 2 * 4
    assert FLOW in key_exchanges(found)


def test_a_completed_zrtp_exchange_says_it_and_a_hello_alone_does_not() -> None:
    hello = Datagram(START_NS - 9 * 10**8, zrtp(b"Hello"), SERVER, PHONE)
    confirm = Datagram(START_NS - 8 * 10**8, zrtp(b"Confirm1"), PHONE, SERVER)
    assert verdict(hello, confirm, *SECRET[:3]) == ("SRTP", "zrtp", "")
    assert verdict(hello, *clear()) == ("", "", "")
    assert verdict(hello, *SECRET) == ("SRTP", "zrtp", "")


def test_no_sound_is_one_line_that_says_what_helps() -> None:
    ((trace, flow, _),) = streams_of(capture_of(SECRET).udp)
    line = str(no_sound(flow, encryption_of(trace, flow)).named({"srtp_key": "--srtp-key"}))
    assert line == (
        "decoding 10.8.0.1:20848 > 10.8.0.2:4000: encrypted (SRTP): timing yes, sound no (known by the randomness of"
        " its payload); give the key with --srtp-key"
    )


@given(
    st.lists(st.binary(max_size=60), max_size=6), st.sampled_from([b"", b"\x16\xfe\xfd", b"\x10\0\0\1ZRTP", b"\x2f"])
)
def test_any_datagrams_are_read_without_a_fault(payloads: list[bytes], head: bytes) -> None:
    sent = [Datagram(START_NS + i, head + payload) for i, payload in enumerate(payloads)]
    for flow in key_exchanges(capture_of(sent).udp):
        assert {flow.source_port, flow.destination_port} == {4000, 20848}
