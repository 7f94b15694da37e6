"""What libsrtp encrypted is decrypted to the same bytes; what cannot be is counted and told."""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earwitness.ear.hear import hear
from earwitness.errors import InputError
from earwitness.speech.codecs.base import encode_packets
from earwitness.speech.codecs.registry import codec
from earwitness.trace.encryption import no_sound
from earwitness.trace.link_layer import Datagrams, Flow
from earwitness.trace.rtp import RtpPacket
from earwitness.trace.sdp import MediaDescription, parse_sdp
from earwitness.trace.srtp import Attempts, decrypt_stream, open_stream
from earwitness.trace.srtp_counter import CounterMode
from earwitness.trace.srtp_keys import SUITES, SrtpKey, sdp_keys, srtp_keys
from testing.ear.traces import voice
from testing.trace.encrypted import (
    OFFERED,
    capture_of,
    encrypted,
    inline,
    master_key,
    protector,
    rtp_of,
    sdp,
    streams_of,
)
from testing.trace.making import PHONE, START_NS, Datagram, invite, rtp_stream

SUITE = "AES_CM_128_HMAC_SHA1_80"
KEY = master_key()


def call(count: int = 60, **kinds: object) -> list[Datagram]:
    """G.711 speech from the server to the phone."""
    payloads = encode_packets(codec("g711u"), voice(count / 50))
    clear = rtp_stream("." * count, **kinds)  # type: ignore[arg-type]
    return [replace(d, payload=d.payload[:12] + payload) for d, payload in zip(clear, payloads[:count], strict=True)]


def opened(datagrams: list[Datagram], *keys: SrtpKey, snap_length: int = 262_144):  # type: ignore[no-untyped-def]
    """The only stream of a capture, decrypted: trace, encryption, result."""
    capture = capture_of(datagrams, snap_length)
    ((trace, flow, rows),) = streams_of(capture.udp)
    return open_stream(trace, flow, capture.udp, rows, sections=capture.sdp, keys=keys)


@pytest.mark.parametrize("suite", OFFERED)
def test_the_sound_of_a_decrypted_call_is_that_of_the_clear_one(suite: str) -> None:
    key = master_key(suite)
    trace, encryption, result = opened(encrypted(call(), key, suite), *srtp_keys(f"{suite}:{inline(key)}"))
    ((plain, *_),) = streams_of(capture_of(call()).udp)
    assert plain.payloads is not None
    assert not encryption.kind
    assert result.opened.all()
    assert result.note == f"decrypted with the key given ({suite})"
    assert [trace.payloads[i] for i in range(60)] == [plain.payloads[i] for i in range(60)]
    assert (trace.size == plain.size).all()
    g711 = codec("g711u")
    assert hear(trace, g711, "fixed:60").audio.tobytes() == hear(plain, g711, "fixed:60").audio.tobytes()


def test_csrcs_extensions_and_padding_are_read_as_in_clear() -> None:
    kinds = {"csrc": (1, 2), "extension": (0xBEDE, b"abcd"), "padding": 7}
    packets = [RtpPacket(0, 500 + i, 160 * i, 9, bytes([i]) * 160, **kinds) for i in range(30)]  # type: ignore[arg-type]
    sent = [Datagram(START_NS + i * 20_000_000, bytes(packet)) for i, packet in enumerate(packets)]
    capture = capture_of(encrypted(sent, KEY))
    rows = np.arange(30)
    result = decrypt_stream(capture.udp, rows, srtp_keys(inline(KEY)))
    assert [result.payloads[i] for i in range(30)] == [packet.payload for packet in packets]
    assert (result.size == 160).all()


def test_reordered_and_repeated_packets_are_decrypted_once_each() -> None:
    sent = encrypted(call(), KEY)
    times = [d.time_ns for d in sent]
    order = [0, 2, 1, 3, 3, 9, 4, 5, 6, 7, 8, *range(10, 60)]
    mixed = [
        replace(sent[i], time_ns=time + 1000 * n)
        for n, (i, time) in enumerate(zip(order, [*times, times[-1]], strict=True))
    ]
    trace, _, result = opened(mixed, *srtp_keys(inline(KEY)))
    clear = [d.payload[12:] for d in call()]
    assert result.opened.all()
    assert [trace.payloads[i] for i in range(len(mixed))] == [clear[i] for i in order]


@pytest.mark.parametrize("rollovers", [0, 1, 5])
def test_a_capture_that_begins_after_wraps_of_the_sequence_number_is_decrypted(rollovers: int) -> None:
    protect = protector(KEY)
    # Up to the capture, a sender's every 20,000th packet keeps its own count of wraps.
    for index in range(0, rollovers << 16, 20_000):
        protect(rtp_of([b"x"], sequence=index)[0])
    before = (rollovers << 16) + 65_500
    sent = [protect(packet) for packet in rtp_of([bytes([i]) * 40 for i in range(60)], sequence=before)]
    capture = capture_of([Datagram(START_NS + i * 20_000_000, packet) for i, packet in enumerate(sent)])
    result = decrypt_stream(capture.udp, np.arange(60), srtp_keys(inline(KEY)))
    assert result.opened.all()
    assert [result.payloads[i] for i in range(60)] == [bytes([i]) * 40 for i in range(60)]


def test_a_sender_that_begins_anew_with_the_same_or_a_new_key_is_followed() -> None:
    other = master_key(seed=2)
    parts = [encrypted(call(), key) for key in (KEY, KEY, other)]
    later = [replace(d, time_ns=d.time_ns + i * 2 * 10**9) for i, part in enumerate(parts) for d in part]
    # The second begins at another number, so that its packets are not copies of the first's.
    later[60:120] = [
        replace(d, time_ns=late.time_ns)
        for d, late in zip(encrypted(call(sequence=30_000), KEY), later[60:120], strict=True)
    ]
    capture = capture_of(later)
    result = decrypt_stream(capture.udp, np.arange(180), (*srtp_keys(inline(KEY)), *srtp_keys(inline(other))))
    assert result.opened.all()
    assert len(result.keys) == 2
    clear = [d.payload[12:] for d in call()]
    assert [result.payloads[i] for i in range(180)] == clear * 3


def test_the_identifier_of_a_key_in_every_packet_is_taken_out() -> None:
    for suite in OFFERED:
        key = master_key(suite)
        sent = encrypted(call(), key, suite)
        tag = 0 if SUITES[suite].aead else SUITES[suite].tag_bytes
        with_mki = [
            replace(d, payload=d.payload[: len(d.payload) - tag] + b"\0\7" + d.payload[len(d.payload) - tag :])
            for d in sent
        ]
        _, _, result = opened(with_mki, *srtp_keys(f"{suite}:{inline(key, '|2^31|7:2')}"))
        assert result.opened.all(), suite


def test_our_counter_mode_decrypts_what_libsrtp_encrypts() -> None:
    # With 128 bits, which libsrtp has too; over a wrap of the sequence number and with long headers.
    for suite in (SUITE, "AES_CM_128_HMAC_SHA1_32"):
        protect, receiver = protector(KEY, suite), CounterMode(KEY, SUITES[suite].tag_bytes)
        packets = rtp_of([bytes([i]) * 50 for i in range(80)], sequence=65_500)
        packets += [bytes(RtpPacket(0, 100, 9, 0xABCD, b"speech", csrc=(1,), extension=(0xBEDE, b"abcd")))]
        sent = [protect(packet) for packet in packets]
        order = [0, 2, 1, *range(3, 81)]
        assert [receiver.unprotect(sent[i]) for i in order] == [packets[i] for i in order]
        assert receiver.unprotect(sent[0][:-1] + b"?") == b""
        assert [receiver.unprotect(sent[80][:size]) for size in range(12, len(sent[80]))].count(b"") == len(
            sent[80]
        ) - 12


def test_a_packet_of_libsrtps_own_tests_with_256_bits_is_decrypted() -> None:
    # The master key of RFC 6188 7.4, and the packet that libsrtp's test driver makes with it.
    key = bytes.fromhex(
        "f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6" + "3b04803de51ee7c96423ab5b78d2"
    )
    sent = bytes.fromhex("800f1234decafbadcafebabe" + "f1d9de17ff251ff1aa007774b0b4b40d" + "a08d9d9a5b3a55d8873b")
    clear = bytes.fromhex("800f1234decafbadcafebabe") + b"\xab" * 16
    assert CounterMode(key, 10).unprotect(sent) == clear
    (wide,) = srtp_keys("AES_256_CM_HMAC_SHA1_80:" + key.hex())
    datagrams = [Datagram(START_NS, sent)]
    result = decrypt_stream(capture_of(datagrams).udp, np.arange(1), (wide,))
    assert result.payloads[0] == clear[12:]


@given(st.binary(max_size=60))
def test_any_bytes_are_no_srtp(packet: bytes) -> None:
    assert CounterMode(KEY, 10).unprotect(bytes(12) + packet) == b""


# -- what cannot be decrypted -------------------------------------------------------------------------------------


def test_a_wrong_key_leaves_the_stream_encrypted_and_says_so_with_counts_and_without_the_key() -> None:
    keys = srtp_keys(inline(master_key(seed=3)))
    trace, encryption, result = opened(encrypted(call(), KEY), *keys)
    assert encryption.certain
    assert not result.opened.any()
    assert (result.payloads.captured == 0).all()
    assert str(no_sound("call.pcap", encryption)) == (
        "decoding call.pcap: encrypted (SRTP): timing yes, sound no (known by the randomness of its payload), and no"
        " packet authenticates with the key given (60 tried); give the key of the end that sent the stream, with its"
        " suite, in srtp_key"
    )
    assert trace.notes == (
        "encrypted (SRTP): timing yes, sound no; none of its 60 packets could be decrypted: 60 did not authenticate",
    )


def test_cut_damaged_and_overlong_packets_are_counted_and_have_no_payload() -> None:
    sent = encrypted(call(), KEY)
    sent[5] = replace(sent[5], payload=sent[5].payload[:-1] + b"?")
    sent.append(replace(sent[-1], time_ns=sent[-1].time_ns + 1, payload=sent[-1].payload + bytes(1400)))
    trace, _, result = opened(sent, *srtp_keys(inline(KEY)))
    assert (result.refused, result.long, result.cut) == (1, 1, 0)
    assert "2 of 61 packets were not: 1 did not authenticate, 1 are too long" in result.note
    assert trace.payloads.captured[5] == 0
    assert trace.size[5] == 160
    # Without the long one, all but the damaged packet is heard.
    heard = hear(trace.take(np.arange(60)), codec("g711u"), "fixed:60")
    assert heard.shares["concealed_ratio"] == pytest.approx(1 / 60, abs=0.002)
    _, encryption, result = opened(encrypted(call(), KEY), *srtp_keys(inline(KEY)), snap_length=120)
    assert encryption.kind == "SRTP"
    assert (result.cut, result.refused) == (60, 0)
    assert result.note == "none of its 60 packets could be decrypted: 60 were cut"


# -- keys ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        inline(KEY),
        inline(KEY).removeprefix("inline:"),
        inline(KEY).removeprefix("inline:").rstrip("="),
        KEY.hex(),
        KEY.hex().upper(),
        inline(KEY, "|2^20"),
        inline(KEY, "|1:4").replace("|1:4", "|2^31"),
    ],
)
def test_a_key_is_read_in_every_form_and_its_length_names_the_suite(text: str) -> None:
    keys = srtp_keys(text)
    assert {key.key for key in keys} == {KEY}
    assert [key.suite for key in keys] == [SUITE, "AES_CM_128_HMAC_SHA1_32"]
    for form in (f"{SUITE}:{text}", f"1 {SUITE} {text}", f"a=crypto:1 {SUITE} {text} WSH=64"):
        assert [(key.suite, key.key) for key in srtp_keys(form)] == [(SUITE, KEY)]


def test_several_keys_of_one_line_are_all_read() -> None:
    other = master_key(seed=2)
    keys = srtp_keys(f"1 {SUITE} {inline(KEY, '|2^20|1:4')};{inline(other, '|2^20|2:4')}")
    assert [(key.key, key.mki_bytes) for key in keys] == [(KEY, 4), (other, 4)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it is empty"),
        ("inline:", "it has 0 bytes"),
        ("secret!", "neither base64 nor hexadecimal"),
        ("c2VjcmV0", "it has 6 bytes, and key and salt of a suite have 28 or 30 or 38 or 44 or 46"),
        ("AEAD_AES_128_GCM:" + inline(KEY), "it has 30 bytes, and key and salt of AEAD_AES_128_GCM have 28;"),
        ("F8_128_HMAC_SHA1_80:" + inline(KEY), "the suite F8_128_HMAC_SHA1_80 is not read"),
        (inline(KEY, "|2^31|1:999999"), "neither"),
    ],
)
def test_a_key_that_cannot_be_used_is_an_error_that_does_not_show_it(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as raised:
        srtp_keys(text)
    assert raised.value.field == "srtp_key"
    assert "c2VjcmV0" not in str(raised.value)
    assert inline(KEY)[7:] not in str(raised.value)


def test_a_key_does_not_show_itself() -> None:
    assert "key=" not in repr(srtp_keys(inline(KEY))[0]).replace("mki", "")


@given(st.text(max_size=80))
def test_any_text_is_keys_or_an_error(text: str) -> None:
    with contextlib.suppress(InputError):
        assert srtp_keys(text)
    sections = parse_sdp(f"m=audio 4000 RTP/SAVP 0\r\na=crypto:{text}")
    assert len(sdp_keys(sections, Flow("a", 1, "b", 4000))) <= 32


def test_the_likeliest_key_of_the_sdp_comes_first_and_unusable_lines_are_skipped() -> None:
    def section(port: int, address: str, *seeds: int) -> MediaDescription:
        lines = [f"1 {SUITE} {inline(master_key(seed=seed))}" for seed in seeds]
        more = ["9 F8_128_HMAC_SHA1_80 inline:x", f"2 {SUITE} {inline(KEY)} UNENCRYPTED_SRTP", "junk"]
        return MediaDescription(address, port, (0,), profile="RTP/SAVP", crypto=(*more, *lines))

    sections = [section(9, "1.1.1.1", 5), section(4000, "10.8.0.2", 6), section(20848, "10.8.0.1", 7, 8)]
    found = sdp_keys(sections, Flow("10.8.0.1", 20848, "10.8.0.2", 4000))
    assert [key.key for key in found] == [master_key(seed=seed) for seed in (7, 8, 6, 5)]
    assert all(key.from_sdp for key in found)


def test_a_call_with_its_keys_in_the_sdp_is_heard_without_being_given_any() -> None:
    other = master_key(seed=2)
    offered = invite(sdp(4000, crypto=[f"1 {SUITE} {inline(other)}"]))
    answer = replace(
        invite(sdp(20848, address="10.8.0.1", crypto=[f"1 {SUITE} {inline(KEY)}"])),
        source=("10.8.0.1", 5060),
        destination=("10.8.0.2", 5060),
    )
    back = [replace(d, source=PHONE, destination=d.source) for d in encrypted(call(ssrc=9), other)]
    capture = capture_of([offered, answer, *itertools.chain(*zip(encrypted(call(), KEY), back, strict=True))])
    clear = [d.payload[12:] for d in call()]
    found = streams_of(capture.udp)
    assert len(found) == 2
    for captured, flow, rows in found:
        trace, encryption, result = open_stream(captured, flow, capture.udp, rows, sections=capture.sdp)
        assert not encryption.kind
        assert result is not None
        assert trace.payloads is not None
        assert trace.notes[-1] == f"decrypted with the key in the capture's SDP ({SUITE})"
        assert [trace.payloads[i] for i in range(60)] == clear


def in_sdp(*seeds: int, elsewhere: bool = False) -> tuple[SrtpKey, ...]:
    return tuple(SrtpKey(SUITE, master_key(seed=seed), from_sdp=True, elsewhere=elsewhere) for seed in seeds)


def after_a_wrap() -> Datagrams:
    protect = protector(KEY)
    for index in range(0, 1 << 16, 20_000):
        protect(rtp_of([b"x"], sequence=index)[0])
    sent = [protect(packet) for packet in rtp_of([bytes([i]) * 40 for i in range(60)], sequence=1 << 16)]
    return capture_of([Datagram(START_NS + i * 20_000_000, packet) for i, packet in enumerate(sent)]).udp


def test_keys_of_other_ports_are_tried_twice_each_and_only_the_streams_own_over_wraps() -> None:
    found, rows, attempts = after_a_wrap(), np.arange(60), Attempts()
    whole = attempts.left
    assert not decrypt_stream(found, rows, in_sdp(1, *range(50, 80), elsewhere=True), attempts).opened.any()
    assert whole - attempts.left == 2 * 31
    assert decrypt_stream(found, rows, in_sdp(1), attempts).opened.all()
    assert not decrypt_stream(found, rows, in_sdp(1), Attempts(3)).opened.any()
    # The user's are tried whatever it takes.
    assert decrypt_stream(found, rows, srtp_keys(inline(KEY)), Attempts(0)).opened.all()


def test_beyond_the_attempts_it_is_said_and_a_key_that_fits_at_once_is_still_used() -> None:
    udp, rows, attempts = capture_of(encrypted(call(), KEY)).udp, np.arange(60), Attempts(200)
    assert not decrypt_stream(udp, rows, in_sdp(2, 3), attempts).opened.any()
    result = decrypt_stream(udp, rows, in_sdp(2), attempts)
    assert result.note == (
        "none of its 60 packets could be decrypted: 60 did not authenticate; not all keys in the SDP were tried,"
        " because too many fit nothing"
    )
    assert decrypt_stream(udp, rows, in_sdp(2, 1), attempts).opened.all()


def test_a_capture_shares_its_attempts_among_its_streams() -> None:
    """Eight keys for each stream, none of which fits: over a thousand attempts each."""
    sent = encrypted(call(), KEY)[:4]
    packets: list[Datagram] = []
    for number in range(45):
        lines = [f"{n} {SUITE} {inline(master_key(seed=9 * number + n))}" for n in range(2, 10)]
        packets.append(invite(sdp(4000 + 2 * number, crypto=lines)))
        packets += [replace(one, destination=(PHONE[0], 4000 + 2 * number)) for one in sent]
    capture = capture_of(packets)
    gave_up = ["not all keys" in stream.trace.notes[-1] for stream in capture.streams]
    assert (gave_up[0], gave_up[-1], len(gave_up)) == (False, True, 45)


def test_a_key_in_the_sdp_that_fits_nothing_leaves_the_stream_encrypted() -> None:
    trace, encryption, result = opened(
        [invite(sdp(4000, crypto=[f"1 {SUITE} {inline(master_key(seed=4))}"])), *encrypted(call(), KEY)]
    )
    assert (encryption.kind, encryption.basis) == ("SRTP", "sdp")
    assert not result.opened.any()
    assert len(trace) == 60
    assert not encryption.refused
