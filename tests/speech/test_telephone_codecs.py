"""The codecs of telephone networks: equal to their libraries and to other implementations, and as good as measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from earwitness.arrays import Pcm
from earwitness.errors import InputError
from earwitness.score.listening import listening_quality, loopback
from earwitness.speech.codecs.base import MalformedFrame, decode_packets, encode_packets, packet_of, packet_samples
from earwitness.speech.codecs.codec2 import codec2
from earwitness.speech.codecs.g726 import G726
from earwitness.speech.codecs.g729 import FRAME_BYTES, SID_BYTES
from earwitness.speech.codecs.ilbc import ilbc
from earwitness.speech.codecs.registry import CODEC_NAMES, CODECS, codec, codec_from_rtpmap
from earwitness.speech.reference import speech
from testing.speech import raw_loopback
from testing.speech.encodable import why_not
from testing.speech.g726_by_the_book import code_words, decode

DATA = Path(__file__).parents[2] / "testing" / "speech" / "data"
RATES = (16, 24, 32, 40)
RATES_OF_L16 = (8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000)


def spoken(rate: int, seconds: float = 4.0) -> Pcm:
    return speech("allison-10s", rate).samples[rate // 2 : round((0.5 + seconds) * rate)]


def heard_by(context: str, payloads: list[bytes], rate: int) -> Pcm:
    """What ffmpeg's decoder makes of payloads."""
    av = pytest.importorskip("av", reason="the extra codecs is not installed")
    decoder = av.CodecContext.create(context, "r")
    decoder.sample_rate, decoder.layout = rate, "mono"
    frames = [frame for payload in payloads for frame in decoder.decode(av.Packet(payload))]
    return np.concatenate([frame.to_ndarray().reshape(-1) for frame in frames])


class TestG722:
    def test_ffmpeg_decodes_the_same_samples(self) -> None:
        payloads = encode_packets(codec("g722"), spoken(16000))
        assert np.array_equal(heard_by("g722", payloads, 16000), decode_packets(codec("g722"), payloads))

    def test_the_clock_is_8000_hz_whatever_the_rtpmap_says(self) -> None:
        for clock in (8000, 16000, None):
            found = codec_from_rtpmap("g722", clock, 9)
            assert (found.name, found.clock_rate, found.sample_rate, packet_samples(found)) == (
                "g722",
                8000,
                16000,
                320,
            )


class TestG726:
    @pytest.mark.parametrize("kbps", RATES)
    @pytest.mark.parametrize("aal2", [False, True])
    def test_every_sample_is_that_of_the_recommendation(self, kbps: int, aal2: bool) -> None:
        of = codec(f"g726:{kbps},aal2={int(aal2)}")
        payloads = encode_packets(of, spoken(8000, 1.0))
        words = code_words(b"".join(payloads), kbps, most_significant_first=aal2)
        assert np.array_equal(decode_packets(of, payloads), np.clip(4 * np.array(decode(words, kbps)), -32768, 32767))

    def test_the_packings_hold_the_same_code_words(self) -> None:
        for kbps in RATES:
            ours, aal2 = (b"".join(encode_packets(codec(f"g726:{kbps},aal2={of}"), spoken(8000, 1.0))) for of in (0, 1))
            assert ours != aal2
            assert code_words(ours, kbps, most_significant_first=False) == code_words(
                aal2, kbps, most_significant_first=True
            )

    def test_names_in_sdp(self) -> None:
        for kbps in RATES:
            for aal2 in (False, True):
                found = codec_from_rtpmap(f"{'AAL2-' if aal2 else ''}g726-{kbps}", 8000, 99)
                assert (found.spec, found.payload_type) == (codec(f"g726:{kbps},aal2={int(aal2)}").spec, 99)
        assert codec_from_rtpmap("", None, 2).spec == "g726"
        assert codec_from_rtpmap("G721", 8000, 2).spec == "g726"

    def test_frames_of_broken_bytes_are_refused(self) -> None:
        with pytest.raises(ValueError, match="multiple of 8"):
            G726(kbps=24, frame_samples=12)


class TestG729:
    def test_a_loopback_is_the_librarys(self) -> None:
        said = spoken(8000)
        frames, heard = raw_loopback.g729(said)
        payloads = encode_packets(codec("g729"), said)
        assert b"".join(payloads) == b"".join(frames)
        assert np.array_equal(decode_packets(codec("g729"), payloads), heard)

    def test_annex_b_pauses_sound_and_end_a_packet(self) -> None:
        said = spoken(8000)
        said = np.concatenate([said, np.random.default_rng(1).normal(0, 30, 16000).astype(np.int16)])
        frames, heard = raw_loopback.g729(said, vad=True)
        assert {len(frame) for frame in frames} == {0, SID_BYTES, FRAME_BYTES}
        of: Any = codec("g729")
        decoder = of.decoder()
        made = []
        for frame in frames:
            one = decoder.decode(frame) if frame else decoder.conceal()
            assert one is not None
            made.append(one)
        assert np.array_equal(np.concatenate(made), heard)
        last_second = heard[-8000:].astype(float)
        assert 5 < np.std(last_second) < 100, "comfort noise, neither silence nor speech"
        sid = next(frame for frame in frames if len(frame) == SID_BYTES)
        one, other = [frame for frame in frames if len(frame) == FRAME_BYTES][:2]
        assert of.split(one + other + sid) == [one, other, sid]
        assert (of.samples_in(one + other + sid), of.samples_in(sid), of.samples_in(one + b"x")) == (240, 80, 80)


class TestIlbc:
    """libilbc 3.0.4 coded 4 s of allison-10s from sample 4000 on: Debian has no encoder."""

    @pytest.mark.parametrize(("ms", "size", "mos"), [(20, 38, 3.83), (30, 50, 3.76)])
    def test_what_libilbc_coded_is_heard(self, ms: int, size: int, mos: float) -> None:
        pytest.importorskip("av", reason="the extra codecs is not installed")
        coded = (DATA / f"ilbc-{ms}ms.bin").read_bytes()
        of = codec_from_rtpmap("iLBC", 8000, 97, fmtp=f"mode={ms}")
        heard = decode_packets(of, [coded[at : at + size] for at in range(0, len(coded), size)])
        assert listening_quality(spoken(8000)[: len(heard)], heard, 8000).mos_lqo == pytest.approx(mos, abs=0.05)

    def test_the_mode_is_that_of_the_packets(self) -> None:
        assert codec_from_rtpmap("ilbc", 8000, 97).spec == "ilbc", "30 ms, if nothing is said (RFC 3952 5)"
        assert codec_from_rtpmap("ilbc", 8000, 97, fmtp="mode=20").spec == "ilbc:20"
        assert codec_from_rtpmap("ilbc", 8000, 97, fmtp="mode=30", payload_bytes=76).spec == "ilbc:20"
        assert codec_from_rtpmap("ilbc", 8000, 97, payload_bytes=50).packet_ms == 30
        for ms, other in ((20, 50), (30, 38)):
            assert (ilbc(ms).split(bytes(other)), ilbc(ms).samples_in(bytes(other))) == ([], 0)

    def test_what_cannot_be_a_frame_is_malformed(self) -> None:
        pytest.importorskip("av", reason="the extra codecs is not installed")
        good = (DATA / "ilbc-20ms.bin").read_bytes()[:38]
        decoder = ilbc(20).decoder()
        assert decoder.decode(good).shape == (160,)
        start = int.from_bytes(good, "big") & ~(3 << (8 * 38 - 22))
        for bad, why in (
            (good[:-1] + bytes([good[-1] | 1]), "empty"),
            (start.to_bytes(38, "big"), "start"),
            (good[1:], "38"),
        ):
            with pytest.raises(MalformedFrame, match=why):
                decoder.decode(bad)

    def test_packets_have_whole_frames(self) -> None:
        with pytest.raises(InputError, match="multiple of 30"):
            replace(ilbc(30), packet_ms=40)


class TestL16:
    @pytest.mark.parametrize("rate", [8000, 11025, 44100])
    def test_nothing_changes(self, rate: int) -> None:
        said = np.random.default_rng(rate).integers(-32768, 32768, rate, dtype=np.int16)
        of = codec(f"l16:{rate}")
        assert np.array_equal(decode_packets(of, encode_packets(of, said))[: len(said)], said)
        assert encode_packets(of, np.array([0x1234], np.int16))[0][:2] == b"\x12\x34", "big-endian"

    def test_stereo_is_mixed_only_on_request(self) -> None:
        with pytest.raises(InputError, match=r"2 channels.*l16:44100,channels=2"):
            codec_from_rtpmap("", None, 10)
        with pytest.raises(InputError, match="2 channels"):
            codec_from_rtpmap("L16", 48000, 96, channels=2)
        mixed: Any = codec("l16:44100,channels=2")
        left_right = np.array([[1000, 3000]] * 882, dtype=">i2").tobytes()
        assert mixed.samples_in(left_right) == 882
        assert set(decode_packets(mixed, [left_right])) == {2000}

    @pytest.mark.parametrize(("left", "right"), [(-1, -2), (-1, -4), (3, 6), (32767, 32766), (-32768, -32767)])
    def test_a_mix_is_rounded_not_cut(self, left: int, right: int) -> None:
        """Cut, every sound would be biased towards 0."""
        of = codec("l16:8000,channels=2")
        payload = np.array([[left, right]] * 160, dtype=">i2").tobytes()
        assert abs(float(decode_packets(of, [payload]).mean()) - (left + right) / 2) <= 0.5
        assert set(decode_packets(of, [payload])) == {int(np.rint((left + right) / 2))}

    @pytest.mark.parametrize(("spec", "why"), [("l16:48000,ptime=60", "5760 bytes"), ("l16:11025,ptime=30", "whole")])
    def test_packets_that_the_network_or_the_clock_does_not_permit_are_refused(self, spec: str, why: str) -> None:
        with pytest.raises(InputError, match=why) as caught:
            codec(spec)
        assert "\n" not in str(caught.value)

    def test_every_rate_has_packets_that_fit(self) -> None:
        for rate in RATES_OF_L16:
            for channels in (1, 2):
                payloads = encode_packets(codec(f"l16:{rate},channels={channels}"), np.zeros(rate, dtype=np.int16))
                assert max(map(len, payloads)) <= 1400

    def test_the_static_types(self) -> None:
        assert codec_from_rtpmap("", None, 11).spec == "l16:44100"
        assert (codec("l16:44100").payload_type, codec("l16").payload_type) == (11, 110)


@pytest.mark.parametrize(
    ("spec", "narrow", "wide"),
    [
        ("g722", 4.49, 4.46),
        ("g726:16", 2.50, None),
        ("g726:24", 3.60, None),
        ("g726", 4.26, None),
        ("g726:40", 4.46, None),
        ("g729", 3.86, None),
        ("amr", 4.21, None),
        ("amr:4.75", 3.43, None),
        ("amr-wb", 4.10, 3.23),
        ("amr-wb:23.85", 4.21, 3.80),
        ("l16", 4.55, 4.64),
        ("speex-wb", 4.01, 3.85),
        ("codec2", 2.68, None),
        ("codec2:3200", 3.00, None),
        ("codec2:700", 1.84, None),
    ],
)
def test_the_ceiling_is_as_measured(spec: str, narrow: float, wide: float | None) -> None:
    of = codec(spec)
    found = loopback(of, speech("allison-10s", of.sample_rate).samples)
    assert found.mos_lqo == pytest.approx(narrow, abs=0.04)
    assert found.mos_lqo_wb == (None if wide is None else pytest.approx(wide, abs=0.04))


@pytest.mark.parametrize("spec", ["g729", "amr", "speex-wb"])
def test_a_codec_conceals_a_gap_and_goes_on(spec: str) -> None:
    of = codec(spec)
    said = spoken(of.sample_rate)
    frames = [frame for payload in encode_packets(of, said) for frame in of.split(payload)]
    whole = of.decoder().decode_many(frames).astype(float)
    loud = int(np.argmax(np.std(whole[20:-40], axis=1))) + 20
    decoder = of.decoder()
    decoder.decode_many(frames[:loud])
    made = [one for one in (decoder.conceal() for _ in range(30)) if one is not None]
    assert [one.shape for one in made] == [(of.frame_samples,)] * 30
    assert np.std(made[0]) > 0.2 * np.std(whole[loud - 1]), "it goes on"
    assert np.std(made[-1]) < 0.2 * np.std(whole[loud - 1]), "and fades"
    again = decoder.decode_many(frames[loud : loud + 30]).astype(float)
    assert np.corrcoef(again[10:].ravel(), whole[loud + 10 : loud + 30].ravel())[0, 1] > 0.9, "and it recovers"


def test_codec2_keeps_the_envelope_at_the_stated_delay() -> None:
    for spec in ("codec2", "codec2:3200", "codec2:1300", "codec2:700"):
        of = codec(spec)
        said = spoken(8000)
        heard = decode_packets(of, encode_packets(of, said))
        envelopes = [
            np.log10(np.convolve(sound.astype(float) ** 2, np.ones(80) / 80, "same") + 100) for sound in (said, heard)
        ]
        length = len(said) - 400
        alike = [
            np.corrcoef(envelopes[0][:length], envelopes[1][lag : lag + length])[0, 1] for lag in range(0, 400, 10)
        ]
        assert abs(10 * int(np.argmax(alike)) - of.lookahead_samples) <= 30
        assert max(alike) > 0.9


def test_the_mode_of_codec2_is_said_or_seen() -> None:
    for mode, size in ((3200, 8), (2400, 6), (1300, 7), (700, 4)):
        assert codec_from_rtpmap("CODEC2", 8000, 100, fmtp=f"mode={mode}") == codec2(mode, 100)
        assert codec_from_rtpmap("codec2", 8000, 100, payload_bytes=size).spec == codec(f"codec2:{mode}").spec
        assert {len(payload) for payload in encode_packets(codec(f"codec2:{mode}"), spoken(8000, 1.0))} == {size}


@pytest.mark.parametrize("size", [1, 5, 12, 14, 16, 60])
def test_a_mode_of_codec2_that_is_neither_said_nor_seen_is_asked_for(size: int) -> None:
    with pytest.raises(InputError, match=rf"packets of {size} bytes.*codec2:3200, codec2:2400") as caught:
        codec_from_rtpmap("CODEC2", 8000, 100, payload_bytes=size)
    assert "\n" not in str(caught.value)
    assert codec_from_rtpmap("CODEC2", 8000, 100, fmtp="mode=1300", payload_bytes=size).spec == "codec2:1300"


def test_payloads_of_another_mode_hold_nothing() -> None:
    of = codec("codec2")
    assert [len(frame) for frame in of.split(bytes(12))] == [6, 6]
    assert (of.split(bytes(14)), of.samples_in(bytes(14))) == ([], 0)


def test_names_in_sdp() -> None:
    for name, clock, number, ours in (
        ("G729", 8000, 18, "g729"),
        ("G729A", 8000, 96, "g729"),
        ("", None, 18, "g729"),
        ("", None, 9, "g722"),
        ("speex", 16000, 98, "speex-wb"),
        ("speex", 8000, 97, "speex"),
        ("L16", 16000, 96, "l16"),
        ("AMR", 8000, 96, "amr"),
        ("AMR-WB", 16000, 97, "amr-wb"),
    ):
        found = codec_from_rtpmap(name, clock, number)
        assert (found.name, found.payload_type) == (ours, number)


FIXED_FRAMES = [name for name in CODEC_NAMES if name != "opus"]
ENCODABLE = [name for name in FIXED_FRAMES if not why_not(name)]


@pytest.mark.parametrize("spec", [*ENCODABLE, "amr:octet=1", "codec2:1300", "l16:44100", "g726:24"])
def test_samples_in_a_payload_are_those_of_the_frames_packed_in_it(spec: str) -> None:
    of: Any = codec(spec)
    frame = of.frame_samples
    most = -(-of.sample_rate * 3 // 10 // frame)
    said = speech("allison-10s", 16000).samples[: (most + 5) * frame]
    encoder = of.encoder()
    frames = [encoder.encode(said[at : at + frame]) for at in range(0, len(said), frame)]
    for count in range(1, most + 1):
        payload = packet_of(of, frames[:count])
        assert of.samples_in(payload) == count * frame
        assert of.split(payload) == frames[:count]
    for count in range(most + 1, most + 6):
        payload = packet_of(of, frames[:count])
        assert most * frame < of.samples_in(payload) <= count * frame, "more than is decoded"
        assert of.split(payload) == frames[:most]


@pytest.mark.parametrize("name", ENCODABLE)
def test_packets_of_every_length_hold_the_same_frames(name: str) -> None:
    of: Any = codec(name)
    kind = CODECS.get(name, "testing")
    said = spoken(of.sample_rate if of.sample_rate in (8000, 16000) else 16000, 1.2)
    heard = decode_packets(of, encode_packets(of, said))
    for ms in (1, 7, 15, 33) if kind.grain else kind.ptimes:
        if ms % (1000 * of.frame_samples / of.sample_rate) and not kind.grain:
            continue
        longer = replace(of, packet_ms=int(ms), **({"frame_samples": 8} if kind.grain else {}))
        payloads = encode_packets(longer, said)
        samples = int(ms) * of.sample_rate // 1000
        assert {longer.samples_in(payload) for payload in payloads} == {samples}
        again = decode_packets(longer, payloads)
        both = min(len(heard), len(again), len(said))
        assert np.array_equal(again[:both], heard[:both])
