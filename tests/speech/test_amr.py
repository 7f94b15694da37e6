"""AMR and AMR-WB: their libraries' sound, both packings of RFC 4867, silence descriptors, damaged frames."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earwitness.arrays import Pcm
from earwitness.errors import InputError
from earwitness.speech.codecs import amr, amr_wb
from earwitness.speech.codecs.amr_payload import NO_DATA, FrameTypes
from earwitness.speech.codecs.base import MalformedFrame, decode_packets, encode_packets, packet_of
from earwitness.speech.codecs.registry import codec, codec_from_rtpmap
from earwitness.speech.reference import speech
from testing.speech import raw_loopback

BOTH = {"amr": amr.FRAMES, "amr-wb": amr_wb.FRAMES}
GOOD = 0x04


def spoken(rate: int, seconds: float = 3.0) -> Pcm:
    return speech("allison-10s", rate).samples[rate // 2 : round((0.5 + seconds) * rate)]


def frames_of_speech(spec: str) -> list[bytes]:
    of = codec(spec)
    return [frame for payload in encode_packets(of, spoken(of.sample_rate, 0.5)) for frame in of.split(payload)]


@pytest.mark.parametrize("mode", range(8))
def test_amr_is_its_librarys(mode: int) -> None:
    of = codec(f"amr:{amr.MODES[mode]:g}")
    frames, heard = raw_loopback.amr(spoken(8000), mode)
    payloads = encode_packets(of, spoken(8000))
    assert [frame for payload in payloads for frame in of.split(payload)] == frames
    assert np.array_equal(decode_packets(of, payloads), heard)


@pytest.mark.parametrize("mode", range(9))
def test_amr_wb_is_its_libraries(mode: int) -> None:
    of = codec(f"amr-wb:{amr_wb.MODES[mode]:g}")
    frames, heard = raw_loopback.amr_wb(spoken(16000), mode)
    payloads = encode_packets(of, spoken(16000))
    assert [frame for payload in payloads for frame in of.split(payload)] == frames
    assert np.array_equal(decode_packets(of, payloads), heard)


@pytest.mark.parametrize("name", BOTH)
def test_pauses_sound_like_noise(name: str) -> None:
    of = codec(name)
    rate = of.sample_rate
    noise = np.random.default_rng(1).normal(0, 40, 2 * rate).astype(np.int16)
    said = np.concatenate([spoken(rate), noise])
    coded = raw_loopback.amr(said, 7, dtx=True) if name == "amr" else raw_loopback.amr_wb(said, 2, dtx=True)
    frames, heard = coded
    kinds = [frame[0] >> 3 & 15 for frame in frames]
    assert {8 if name == "amr" else 9, NO_DATA} < set(kinds)
    payloads = [packet_of(of, [frame]) for frame in frames]
    assert np.array_equal(decode_packets(of, payloads), heard), "silence descriptors and frames without data, too"
    assert 5 < np.std(heard[-rate:].astype(float)) < 100


@st.composite
def many_frames(draw: st.DrawFn, types: FrameTypes) -> list[bytes]:
    """One to ten frames of any type, with their padding 0."""
    frames = []
    for kind in draw(st.lists(st.sampled_from(sorted(types.bits)), min_size=1, max_size=10)):
        size = types.bits[kind]
        body = draw(st.integers(0, (1 << size) - 1)) << (-size % 8)
        frames.append(bytes([kind << 3 | draw(st.sampled_from([0, GOOD]))]) + body.to_bytes(-(-size // 8), "big"))
    return frames


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("aligned", [False, True])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_what_is_packed_is_split(name: str, aligned: bool, data: st.DataObject) -> None:
    types = BOTH[name]
    frames = data.draw(many_frames(types))
    payload = types.payload(frames, octet_aligned=aligned)
    heads = 8 * (1 + len(frames)) if aligned else 4 + 6 * len(frames)
    sizes = [types.bits[frame[0] >> 3] for frame in frames]
    assert len(payload) == -(-(heads + sum(size + (-size % 8 if aligned else 0) for size in sizes)) // 8)
    assert types.frames(payload, octet_aligned=aligned) == frames
    assert types.frames(payload + b"\x01", octet_aligned=aligned) in (
        [],
        types.frames(payload + b"\x01", octet_aligned=not aligned),
    )


@pytest.mark.parametrize("name", BOTH)
def test_speech_is_read_in_either_packing_whatever_sdp_says(name: str) -> None:
    for kbps in amr.MODES if name == "amr" else amr_wb.MODES:
        frames = frames_of_speech(f"{name}:{kbps:g}")
        types = BOTH[name]
        for aligned in (False, True):
            for together in (frames[:1], frames[5:6], frames[:3]):
                payload = types.payload(together, octet_aligned=aligned)
                assert types.frames(payload, octet_aligned=not aligned) == together


@pytest.mark.parametrize("name", BOTH)
def test_what_cannot_be_a_frame_is_malformed_and_so_is_a_damaged_one(name: str) -> None:
    of = codec(name)
    good = frames_of_speech(name)[10]
    assert of.decoder().decode(good).shape == (of.frame_samples,)
    damaged = bytes([good[0] & ~GOOD]) + good[1:]
    for wrong in (b"", good[:-1], good + b"\0", bytes([11 << 3 | GOOD]) + bytes(5), damaged):
        with pytest.raises(MalformedFrame):
            of.decoder().decode(wrong)


def test_amr_wb_conceals_pauses_only() -> None:
    """libopencore-amrwb makes near silence of lost speech; the ear prolongs it instead."""
    of = codec("amr-wb")
    frames, _ = raw_loopback.amr_wb(np.concatenate([spoken(16000), np.zeros(16000, np.int16)]), 2, dtx=True)
    sid = next(index for index, frame in enumerate(frames) if frame[0] >> 3 == amr_wb.SID)
    decoder = of.decoder()
    decoder.decode_many(frames[:sid])
    assert decoder.conceal() is None
    for nothing in (NO_DATA, amr_wb.SPEECH_LOST):
        with pytest.raises(MalformedFrame, match="no pause"):
            decoder.decode(bytes([nothing << 3 | GOOD]))
    decoder.decode(frames[sid])
    more = decoder.conceal()
    assert more is not None
    assert decoder.decode(bytes([NO_DATA << 3])).shape == more.shape == (320,)


def test_the_forms_that_are_not_decoded_are_named() -> None:
    assert codec_from_rtpmap("AMR", 8000, 96, fmtp="mode-set=7; octet-align=1").spec == "amr:octet=1"
    assert codec_from_rtpmap("AMR", 8000, 96, fmtp="mode-set=0,2,4,7;mode-change-period=2").spec == "amr"
    for fmtp, named in (
        ("octet-align=1;crc=1", "crc=1"),
        ("robust-sorting=1", "robust"),
        ("interleaving=30", "interleaving"),
    ):
        with pytest.raises(InputError, match=named):
            codec_from_rtpmap("AMR-WB", 16000, 96, fmtp=fmtp)


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("aligned", [False, True])
def test_a_payload_of_more_than_30_frames_is_not_read(name: str, aligned: bool) -> None:
    """Reading a table of contents of 65,000 entries takes seconds, so it is given up after 30."""
    types, nothing = BOTH[name], bytes([NO_DATA << 3 | GOOD])
    kind = max(types.bits, key=types.bits.__getitem__)
    longest = bytes([kind << 3 | GOOD]).ljust(types.frame_bytes(kind), b"\0")
    for frame in (nothing, longest):
        for count, read in ((10, 10), (15, 15), (16, 15), (30, 15), (32, 0), (1000, 0)):
            payload = types.payload([frame] * count, octet_aligned=aligned)
            assert types.frames(payload, octet_aligned=aligned) == [frame] * read
            assert types.count(payload, octet_aligned=aligned) == min(16, count) * (read > 0)


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
@pytest.mark.parametrize("aligned", [False, True])
def test_tshark_reads_the_same_table_of_contents(aligned: bool, tmp_path: Path) -> None:
    types = BOTH["amr"]
    frames = [frame for kbps in (4.75, 5.9, 12.2) for frame in frames_of_speech(f"amr:{kbps}")[:1]]
    rtp = struct.pack("!BBHII", 0x80, 102, 7, 160, 1) + types.payload(frames, octet_aligned=aligned)
    udp = struct.pack("!HHHH", 4000, 4002, 8 + len(rtp), 0) + rtp
    ip = struct.pack("!BBHHHBBH8s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0, bytes((10, 0, 0, 1, 10, 0, 0, 2))) + udp
    header = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101)
    file = tmp_path / "amr.pcap"
    file.write_bytes(header + struct.pack("<IIII", 1, 0, len(ip), len(ip)) + ip)
    packing = f"amr.encoding.version:RFC 3267 {'octet aligned' if aligned else 'BW-efficient'}"
    fields = [word for field in ("amr.nb.cmr", "amr.nb.toc.ft", "amr.toc.f", "_ws.expert") for word in ("-e", field)]
    port = ("-d", "udp.port==4000,rtp", "-d", "rtp.pt==102,amr")
    done = subprocess.run(
        ["tshark", "-r", file, *port, "-o", packing, "-T", "fields", *fields],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.rstrip("\n").split("\t")[:3] == ["15", "0,2,7", "1,1,0"]


def test_samples_are_counted() -> None:
    of: Any = codec("amr-wb")
    payload = packet_of(of, frames_of_speech("amr-wb")[:4])
    assert (of.samples_in(payload), of.samples_in(payload[:-1]), of.samples_in(b"")) == (1280, 0, 0)
