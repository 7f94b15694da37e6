"""Codecs: standard values, round trips, state, malformed input, and the bytes of real captures."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earwitness.arrays import Pcm
from earwitness.errors import InputError
from earwitness.speech.codecs.base import (
    Codec,
    MalformedFrame,
    decode_packets,
    encode_packets,
    frames_per_packet,
    packet_samples,
    packet_ticks,
)
from earwitness.speech.codecs.g711 import compression, expansion
from earwitness.speech.codecs.opus_packet import has_fec
from earwitness.speech.codecs.registry import CODEC_NAMES, at_ptime, codec, codec_from_rtpmap, kind_of
from earwitness.speech.codecs.speex import NARROWBAND
from earwitness.speech.codecs.speex_codec import PLAIN, SUBMODE_BITS, SpeexDecoder
from earwitness.speech.reference import speech
from earwitness.speech.wav import read_wav, resample
from testing.speech.encodable import encodable, why_not

VOCODERS = {"codec2"}
"""Codecs that keep the speech, and not its waveform."""
CORRELATION = {"g729": 0.85, "ilbc": 0.85, "speex-wb": 0.85, "amr": 0.88}
SPECS = encodable(
    [*CODEC_NAMES, "speex:8", "opus:24000,fec=1,loss=10", "opus:24000,rate=16000", "opus:64000,rate=48000"]
)


def spoken(of: Codec, seconds: float = 4.0) -> Pcm:
    said = speech("carlo-10s").samples[: int(seconds * 8000)]
    return resample(said, 8000, of.sample_rate)


def correlation_at(lag: int, said: Pcm, heard: Pcm) -> float:
    n = min(len(said), len(heard)) - lag
    return float(np.corrcoef(said[:n].astype(float), heard[lag : lag + n].astype(float))[0, 1])


@pytest.mark.parametrize("spec", [one for one in SPECS if one.values[0] not in VOCODERS])
def test_what_is_decoded_is_what_was_said_at_the_stated_lag(spec: str) -> None:
    of = codec(spec)
    said = spoken(of)
    heard = decode_packets(of, encode_packets(of, said))
    best = max(range(of.lookahead_samples + 40), key=lambda lag: correlation_at(lag, said, heard))
    assert abs(best - of.lookahead_samples) <= max(2, of.sample_rate // 8000)
    assert correlation_at(best, said, heard) > CORRELATION.get(spec, 0.9)


@pytest.mark.parametrize("spec", SPECS)
def test_decoding_many_frames_equals_decoding_each(spec: str) -> None:
    of = codec(spec)
    payloads = encode_packets(of, spoken(of, 1.0))
    frames = [frame for payload in payloads for frame in of.split(payload)]
    assert len(frames) == len(payloads) * frames_per_packet(of)
    one_by_one, together = of.decoder(), of.decoder().decode_many(frames)
    assert together.shape == (len(frames), of.frame_samples)
    assert np.array_equal(np.stack([one_by_one.decode(frame) for frame in frames]), together)


@pytest.mark.parametrize("spec", SPECS)
def test_two_decoders_do_not_share_state_and_output_is_repeatable(spec: str) -> None:
    of = codec(spec)
    frames = [frame for payload in encode_packets(of, spoken(of, 0.5)) for frame in of.split(payload)]
    first, second = of.decoder(), of.decoder()
    interleaved = [(first.decode(frame), second.decode(frame)) for frame in frames]
    assert all(np.array_equal(a, b) for a, b in interleaved)


@pytest.mark.parametrize("spec", SPECS)
def test_the_specification_of_a_codec_gives_it_again(spec: str) -> None:
    assert codec(codec(spec).spec) == codec(spec)


@pytest.mark.parametrize(
    ("name", "payload_type", "clock", "ticks", "size"),
    [
        ("g711u", 0, 8000, 160, 160),
        ("g711a", 8, 8000, 160, 160),
        ("gsm", 3, 8000, 160, 33),
        ("speex", 97, 8000, 160, 28),
    ],
)
def test_rtp_facts(name: str, payload_type: int, clock: int, ticks: int, size: int) -> None:
    of = codec(name)
    assert (of.payload_type, of.clock_rate, packet_ticks(of), of.packet_ms) == (payload_type, clock, ticks, 20)
    assert {len(payload) for payload in encode_packets(of, spoken(of, 1.0))} == {size}


def test_opus_has_a_48_khz_clock_whatever_the_audio() -> None:
    for rate in (8000, 16000, 48000):
        of = codec(f"opus:24000,rate={rate}")
        assert (of.clock_rate, packet_ticks(of), of.channels, packet_samples(of)) == (48000, 960, 2, rate // 50)


class TestG711:
    def test_levels_of_the_standard(self) -> None:
        mu, a = expansion("u"), expansion("a")
        assert (mu[0xFF], mu[0x7F], mu[0x80], mu[0x00], mu[0xFE]) == (0, 0, 32124, -32124, 8)
        assert (a[0xD5], a[0x55], a[0xAA], a[0x2A]) == (8, -8, 32256, -32256)

    @pytest.mark.parametrize("law", ["u", "a"])
    def test_every_byte_survives(self, law: Literal["u", "a"]) -> None:
        levels = expansion(law)
        again = compression(law)[levels.view(np.uint16)]
        changed = np.flatnonzero(again != np.arange(256))
        assert changed.tolist() == ([0x7F] if law == "u" else [])

    @pytest.mark.parametrize("law", ["u", "a"])
    def test_a_sample_goes_to_the_interval_around_it(self, law: Literal["u", "a"]) -> None:
        samples = np.arange(65536, dtype=np.uint16).view(np.int16)
        levels = expansion(law).astype(np.int32)
        decoded = levels[compression(law)]
        inside = np.abs(samples.astype(np.int32)) < 32000
        error = np.abs(decoded - samples)[inside]
        step = np.maximum(np.abs(decoded)[inside] / 16, 16)
        assert np.all(error <= step)

    @pytest.mark.published
    def test_every_byte_of_the_published_captures(self, published: Path) -> None:
        said, _ = read_wav(published / "02-data-collection-steps/caller/audio-samples/prior-work-jithin-audio.wav")
        table, compared = compression("u"), 0
        folder = published / "05-data/Sample-Raw-Data/Non-Tor/g711"
        for capture in sorted(folder.rglob("pcap_capture_inside_0.pcap"))[:3]:
            for stamp, payload in mu_law_packets(capture.read_bytes()):
                index = (stamp - 160 + np.arange(len(payload))) % len(said)
                assert np.array_equal(table[said[index].view(np.uint16)], payload)
                compared += len(payload)
        assert compared > 100_000


def mu_law_packets(pcap: bytes) -> list[tuple[int, np.ndarray]]:
    """Timestamp and captured payload of the PCMU packets that the caller's phone (10.8.0.2) sent."""
    found, at = [], 24
    while at + 16 <= len(pcap):
        size = struct.unpack_from("<I", pcap, at + 8)[0]
        packet, at = pcap[at + 16 : at + 16 + size], at + 16 + size
        if len(packet) <= 60 or packet[9] != 17 or packet[12:16] != b"\n\x08\x00\x02":
            continue
        if struct.unpack_from(">H", packet, 20)[0] == 4000 and packet[29] & 0x7F == 0:
            found.append((struct.unpack_from(">I", packet, 32)[0], np.frombuffer(packet[40:], np.uint8)))
    return found


@pytest.mark.parametrize("name", CODEC_NAMES)
def test_a_frame_without_bytes_is_malformed_whatever_the_codec(name: str) -> None:
    of = codec(name)
    if name == "ilbc":
        pytest.importorskip("av", reason="the extra codecs is not installed")
    with pytest.raises(MalformedFrame):
        of.decoder().decode(b"")
    assert of.decoder().decode_many([]).shape == (0, of.frame_samples)


class TestGsm:
    def test_frames_bear_the_signature(self) -> None:
        assert [payload[0] >> 4 for payload in encode_packets(codec("gsm"), spoken(codec("gsm"), 1.0))] == [0xD] * 50

    def test_frames_without_it_or_of_another_length_are_refused(self) -> None:
        for frame in (bytes(33), b"\xd0" * 32, b""):
            with pytest.raises(MalformedFrame):
                codec("gsm").decoder().decode(frame)


class TestSpeex:
    def test_frames_that_follow_each_other_bit_by_bit_are_separated(self) -> None:
        of = codec("speex")
        alone = encode_packets(of, spoken(of, 0.2))[:3]
        bits = SUBMODE_BITS[4]
        stream = 0
        for payload in alone:
            stream = (stream << bits) | (int.from_bytes(payload, "big") >> (8 * len(payload) - bits))
        total = bits * len(alone)
        packed = (stream << (-total % 8)).to_bytes(-(-total // 8), "big")
        assert of.split(packed) == alone

    @pytest.mark.parametrize("quality", range(11))
    def test_the_plain_decoder_is_libspeex_but_for_the_order_of_its_sums(self, quality: int) -> None:
        of = codec(f"speex:{quality}")
        assert PLAIN.exists(), "see tools/build_native.py: it needs a C compiler and libspeex-dev"
        plain, theirs = of.decoder(), SpeexDecoder(NARROWBAND, plain=False)
        lost = np.random.default_rng(quality).random(200) < 0.1
        lost[120:135] = True
        wrong = []
        for payload, missing in zip(encode_packets(of, spoken(of)), lost, strict=True):
            one, other = (d.conceal() if missing else d.decode(*of.split(payload)) for d in (plain, theirs))
            assert one is not None
            assert other is not None
            wrong.append(np.abs(one.astype(int) - other))
        # Where the enhancer is off (submode 1) no sum differs at all.
        assert np.max(wrong) <= (0 if quality == 0 else 3)
        assert np.mean(np.array(wrong) > 0) < 0.03

    @pytest.mark.parametrize("frame", [b"", b"\x7f" * 28, b"\x80" * 28])
    def test_what_is_no_frame_is_refused_by_both_decoders(self, frame: bytes) -> None:
        for decoder in (codec("speex").decoder(), SpeexDecoder(NARROWBAND, plain=False)):
            with pytest.raises(MalformedFrame):
                decoder.decode(frame)

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.binary(max_size=70), max_size=12))
    def test_any_bytes_are_decoded_or_refused(self, frames: list[bytes]) -> None:
        decoder = codec("speex").decoder()
        for frame in frames:
            with contextlib.suppress(MalformedFrame):
                assert decoder.decode(frame).shape == (160,)
            assert decoder.conceal() is not None

    def test_concealment_continues_the_sound(self) -> None:
        of = codec("speex")
        decoder = of.decoder()
        for payload in encode_packets(of, spoken(of))[:60]:
            last = decoder.decode(payload)
        made = decoder.conceal()
        assert made is not None
        assert made.shape == (160,)
        assert 0.05 < np.std(made.astype(float)) / np.std(last.astype(float)) < 2.0


class TestOpus:
    def test_bit_rate_is_about_what_was_asked(self) -> None:
        for bitrate in (12000, 24000, 48000):
            of = codec(f"opus:{bitrate}")
            sizes = [len(payload) for payload in encode_packets(of, spoken(of))]
            assert 0.6 * bitrate < np.mean(sizes) * 8 * 50 < 1.1 * bitrate

    def test_silence_is_sent_in_full_because_dtx_is_off(self) -> None:
        of = codec("opus")
        assert min(len(payload) for payload in encode_packets(of, np.zeros(16000, np.int16))) > 2

    def test_fec_recovers_a_lost_frame_better_than_concealment(self) -> None:
        of = codec("opus:32000,fec=1,loss=20")
        payloads = encode_packets(of, spoken(of, 8.0))
        whole = of.decoder().decode_many(payloads).astype(float)
        by_fec, by_plc = list[float](), list[float]()
        for lost in range(40, len(payloads) - 1, 7):
            if not has_fec(payloads[lost + 1]) or np.std(whole[lost]) < 300:
                continue
            for errors, made_by in ((by_fec, "recover"), (by_plc, "conceal")):
                decoder = of.decoder()
                decoder.decode_many(payloads[:lost])
                made = decoder.recover(payloads[lost + 1]) if made_by == "recover" else decoder.conceal()
                assert made is not None
                errors.append(np.std(made - whole[lost]) / np.std(whole[lost]))
        assert len(by_fec) > 10
        assert np.median(by_fec) < 0.8 * np.median(by_plc)

    def test_without_fec_there_is_nothing_to_recover(self) -> None:
        of = codec("opus:24000")
        decoder = of.decoder()
        assert [decoder.recover(payload) for payload in encode_packets(of, spoken(of, 1.0))] == [None] * 50

    def test_high_rate_music_mode_packets_carry_no_fec(self) -> None:
        assert not has_fec(bytes([0xF8, 0xFF, 0xFF]))
        assert not has_fec(b"")


@pytest.mark.parametrize("spec", CODEC_NAMES)
@settings(max_examples=60, deadline=None)
@given(frame=st.binary(max_size=300))
def test_any_bytes_give_a_frame_or_a_typed_error(spec: str, frame: bytes) -> None:
    of = codec(spec)
    decoder = of.decoder()
    with contextlib.suppress(MalformedFrame):
        assert decoder.decode(frame).dtype == np.int16
    for piece in of.split(frame):
        assert len(piece) <= len(frame)


@pytest.mark.parametrize(
    "spec",
    ["", "g723", "opus:5", "opus:24000,fec=2", "opus:x", "gsm:13", "speex:11", "opus:24000,rate=44100", "opus:²"],
)
def test_a_bad_specification_names_the_valid_ones(spec: str) -> None:
    with pytest.raises(InputError, match="g711u, g711a, gsm, speex"):
        codec(spec)


def test_codecs_from_sdp() -> None:
    assert codec_from_rtpmap("pcmu", 8000, 0).name == "g711u"
    assert codec_from_rtpmap("", None, 8).name == "g711a"
    opus = codec_from_rtpmap("opus", 48000, 111, sample_rate=16000)
    assert (opus.name, opus.payload_type, opus.sample_rate) == ("opus", 111, 16000)
    assert codec_from_rtpmap("SPEEX", 8000, 110).payload_type == 110
    for wrong in (("G723", 8000, 4), ("speex", 32000, 98), ("", None, 97), ("", None, 13)):
        with pytest.raises(InputError):
            codec_from_rtpmap(*wrong)


@pytest.mark.parametrize("name", CODEC_NAMES)
def test_interleaved_channels_are_refused(name: str) -> None:
    """RFC 3551 4.1: their samples or frames alternate, so that one decoder would make noise of them."""
    of = codec(name)
    usual = codec_from_rtpmap(of.encoding_name, of.clock_rate, 96, channels=of.channels)
    assert (usual.name, usual.channels) == (name, of.channels)
    if of.channels == 1:
        with pytest.raises(InputError, match="it has 2 channels") as caught:
            codec_from_rtpmap(of.encoding_name, of.clock_rate, 96, channels=2)
        assert "\n" not in str(caught.value)


def test_an_encoder_takes_whole_frames_of_16_bit_samples_only() -> None:
    for name in CODEC_NAMES:
        if why_not(name):
            continue
        of = codec(name)
        with pytest.raises(ValueError, match="samples at a time"):
            of.encoder().encode(np.zeros(of.frame_samples - 1, np.int16))
        with pytest.raises(ValueError, match="samples at a time"):
            of.encoder().encode(np.zeros(of.frame_samples, np.float32))


@pytest.mark.parametrize("name", ["g711u", "g711a", "gsm", "speex", "opus"])
def test_of_one_packet_no_more_than_300_ms_are_split(name: str) -> None:
    """RFC 3551 4.2 asks for 200 ms, and ffmpeg sends 256; 60 kB of Speex's shortest frames would be half an hour."""
    of = codec(name)
    for payload in (bytes(60_000), b"\xff" * 60_000, bytes(range(256)) * 6):
        frames = of.split(payload)
        assert len(frames) <= -(-of.sample_rate * 3 // (10 * of.frame_samples))
        assert name == "opus" or sum(map(len, frames)) <= 2400
    whole = encode_packets(of, np.resize(np.arange(-900, 900, dtype=np.int16), 10 * of.frame_samples))
    together = b"".join(whole)
    if name not in ("opus", "speex"):
        assert b"".join(of.split(together)) == together


@pytest.mark.parametrize("name", ["g711u", "g711a", "gsm", "speex", "opus"])
@pytest.mark.parametrize(
    "frame", [b"", b"\x00", bytes(79), bytes(81), bytes(33), b"\xff" * 33, bytes(60_000)], ids=lambda one: str(len(one))
)
def test_a_frame_of_any_bytes_is_sound_or_malformed(name: str, frame: bytes) -> None:
    of = codec(name)
    good = of.split(encode_packets(of, np.zeros(of.sample_rate // 50, dtype=np.int16))[0])[0]
    for frames in ([frame], [good, frame, good]):
        with contextlib.suppress(MalformedFrame):
            assert of.decoder().decode_many(frames).shape == (len(frames), of.frame_samples)
    decoder = of.decoder()
    assert decoder.recover(frame) is None
    assert decoder.decode_many([good]).shape == (1, of.frame_samples)


def test_g711_frames_of_another_length_are_malformed() -> None:
    for name in ("g711u", "g711a"):
        with pytest.raises(MalformedFrame, match="80 bytes"):
            codec(name).decoder().decode_many([bytes(80), bytes(10)])


def test_a_broken_copy_in_the_next_opus_packet_is_none() -> None:
    """Its first bytes promise in-band FEC, and what follows is no frame: longer than any (RFC 6716 3.4)."""
    of = codec("opus:24000,fec=1")
    rng = np.random.default_rng(5)
    broken, made = 0, 0
    for _ in range(3000):
        size = int(rng.choice((rng.integers(1, 40), rng.integers(1276, 1500))))
        packet = bytes([int(rng.integers(0, 32)) << 2 & 0x7C]) + rng.bytes(size)
        recovered = of.decoder().recover(packet)
        if not has_fec(packet) or size > 1275:
            assert recovered is None
            broken += has_fec(packet)
        else:
            assert recovered is not None
            assert len(recovered) >= of.frame_samples
            made += 1
    assert broken > 100
    assert made > 100


PACKET_TIMES = [(spec, ms) for spec in ("g711u", "gsm", "speex:8", "opus:32000") for ms in kind_of(codec(spec)).ptimes]


@pytest.mark.parametrize(("spec", "ms"), PACKET_TIMES)
def test_every_packet_time_that_a_codec_permits(spec: str, ms: float) -> None:
    of = at_ptime(codec(spec), ms)
    assert codec(of.spec) == of
    assert of.packet_ms == ms
    said = spoken(of, 0.6)
    payloads = encode_packets(of, said)
    assert {of.samples_in(payload) for payload in payloads} == {packet_samples(of)}
    assert all(len(of.split(payload)) == frames_per_packet(of) for payload in payloads)
    if of.name != "opus":
        usual = decode_packets(codec(spec), encode_packets(codec(spec), said))
        assert np.array_equal(decode_packets(of, payloads)[: len(said)], usual[: len(said)])


@pytest.mark.parametrize(
    "spec", ["g711u:ptime=0.5", "g711a:ptime=61", "gsm:ptime=30", "opus:24000,ptime=30", "speex:ptime=10"]
)
def test_a_packet_time_that_a_codec_does_not_permit(spec: str) -> None:
    with pytest.raises(InputError, match=r"has no packets of .* ms; use") as caught:
        codec(spec)
    assert caught.value.field == "ptime"


@pytest.mark.parametrize("spec", SPECS)
@given(payload=st.binary(max_size=700))
def test_what_any_payload_holds_is_known_without_decoding(spec: str, payload: bytes) -> None:
    of = codec(spec)
    held = of.samples_in(payload)
    assert held >= 0
    assert of.samples_in(b"") == 0
    if of.name == "opus":
        with contextlib.suppress(MalformedFrame):
            assert len(of.decoder().decode(payload)) == held
    elif held < 1600:
        assert len(of.split(payload)) == held // of.frame_samples
