"""Sound files that libsndfile cannot read, and GSM in WAV, which it can."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from earwitness.errors import InputError
from earwitness.extras import MissingExtra
from earwitness.score.listening import listening_quality
from earwitness.speech import ffmpeg
from earwitness.speech.codecs.base import decode_packets, encode_packets
from earwitness.speech.codecs.g711 import expansion
from earwitness.speech.codecs.registry import codec
from earwitness.speech.reference import speech
from earwitness.speech.wav import decode_audio, decode_sound, read_sound, read_wav

pytest.importorskip("av", reason="the extra codecs is not installed")
from testing.speech.files import FORMATS, encoded, spoken

SAID = speech("allison-10s").samples[8000:32000]
WIDE = speech("allison-10s", 16000).samples[16000:64000]


@pytest.mark.parametrize("kind", FORMATS)
def test_speech_comes_through_each_format(kind: str) -> None:
    found = decode_sound(spoken(kind), f"a.{kind}")
    assert found.sample_rate == FORMATS[kind][2]
    assert len(found.samples) / found.sample_rate == pytest.approx(3.0, abs=0.1)
    score = listening_quality(WIDE, found.samples, found.sample_rate, 16000)
    assert score.mos_lqo > 2.7
    assert abs(score.pesq.delay_ms) < 70  # AAC's own delay is 64 ms at 16 kHz


@pytest.mark.parametrize("kind", ["m4a", "webm", "wma"])
def test_channels_are_chosen_there_too(kind: str) -> None:
    other = speech("carlo-10s", 16000).samples[: len(WIDE)]
    content = encoded(np.stack([WIDE, other], axis=1), 16000, kind)
    with pytest.raises(InputError, match="2 channels, which differ: left -"):
        decode_sound(content, f"a.{kind}")
    right = decode_sound(content, f"a.{kind}", "right")
    assert right.channel == "right"
    scores = [listening_quality(said, right.samples, right.sample_rate, 16000).mos_lqo for said in (WIDE, other)]
    assert scores[1] > 2.4 > 1.5 > scores[0]


def test_g722_decodes_to_its_own_sound_and_says_that_only_its_name_tells(tmp_path: Path) -> None:
    (tmp_path / "call.G722").write_bytes(spoken("g722"))
    found = read_sound(tmp_path / "call.G722")
    assert found.note == "read as G.722 at 16000 Hz, which only its name tells"
    assert listening_quality(WIDE, found.samples, 16000).mos_lqo > 4.2
    (tmp_path / "call.bin").write_bytes(spoken("g722"))
    with pytest.raises(InputError):
        read_wav(tmp_path / "call.bin")


@pytest.mark.parametrize(("suffix", "law"), [("ulaw", "u"), ("alaw", "a")])
def test_a_file_of_g711_without_a_header_is_the_standard_s_expansion(suffix: str, law: str) -> None:
    codes = np.arange(256, dtype=np.uint8)
    found = decode_sound(codes.tobytes() * 40, f"a.{suffix}")
    assert found.sample_rate == 8000
    assert np.array_equal(found.samples, np.tile(expansion(law), 40))


def test_samples_and_gsm_without_a_header() -> None:
    assert np.array_equal(decode_audio(SAID.astype("<i2").tobytes(), "a.sln")[0], SAID)
    gsm = codec("gsm")
    frames = encode_packets(gsm, SAID)
    samples, rate = decode_audio(b"".join(frames), "a.gsm")
    assert rate == 8000
    assert np.array_equal(samples, decode_packets(gsm, frames))


def wav49(samples: np.ndarray, folder: Path, *, said: int | None = None, fact: bool = True) -> bytes:
    """As Asterisk writes it: GSM frames in pairs of 65 bytes, after a header of 60."""
    soundfile.write(folder / "made.wav", samples, 8000, subtype="GSM610")
    content = (folder / "made.wav").read_bytes()
    body = content[content.index(b"data") + 8 :]
    body = body[: len(samples) // 320 * 65]  # libsndfile ends with a block of silence
    form = struct.pack("<HHIIHHHH", 49, 1, 8000, 1625, 65, 0, 2, 320)
    chunks = b"fmt " + struct.pack("<I", len(form)) + form
    chunks += b"fact" + struct.pack("<II", 4, len(body) // 65 * 320) if fact else b""
    chunks += b"data" + struct.pack("<I", len(body) if said is None else said) + body
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


@pytest.mark.parametrize(("said", "fact"), [(None, True), (None, False), (0, True), (0xFFFFFFFF, False)])
def test_gsm_in_wav_is_read_whatever_its_header_says(tmp_path: Path, said: int | None, fact: bool) -> None:
    """Interrupted recorders leave a length of 0 or the largest one; some write no count of samples."""
    (tmp_path / "a.wav").write_bytes(wav49(SAID, tmp_path, said=said, fact=fact))
    found = read_sound(tmp_path / "a.wav")
    assert len(found.samples) == len(SAID)
    gsm = codec("gsm")
    assert np.array_equal(found.samples, decode_packets(gsm, encode_packets(gsm, SAID)))


def test_a_cut_file_is_read_up_to_the_cut() -> None:
    whole = decode_sound(spoken("amr"), "a.amr").samples
    part = decode_sound(spoken("amr")[:-20], "a.amr").samples
    assert len(whole) - 320 <= len(part) < len(whole)
    assert np.array_equal(part[: len(whole) - 320], whole[: len(whole) - 320])


def test_a_hole_in_the_middle_is_not_played_over() -> None:
    content = bytearray(spoken("m4a"))
    at = content.index(b"mdat") + 4000
    content[at : at + 1500] = bytes(1500)
    with pytest.raises(InputError, match=r"packet \d+ cannot be decoded"):
        decode_sound(bytes(content), "a.m4a")


def test_a_playlist_opens_no_other_file(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "secret.wav", SAID, 8000)
    for content in (
        f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:3,\nfile://{tmp_path}/secret.wav\n#EXT-X-ENDLIST\n",
        f"ffconcat version 1.0\nfile '{tmp_path}/secret.wav'\n",
    ):
        for name in ("a.m3u8", "a.ffconcat", "a.wav", "a.mp4"):
            with pytest.raises(InputError):
                decode_sound(content.encode(), name)


def test_packets_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ffmpeg, "MOST_PACKETS", 20)
    with pytest.raises(InputError, match="more than 20 packets"):
        decode_sound(spoken("amr"), "a.amr")


def test_without_pyav_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtra, match=r"pip install 'earwitness\[codecs\]'"):
        decode_sound(spoken("m4a"), "a.m4a")
    with pytest.raises(InputError, match="not audio"):
        decode_sound(b"no sound at all, and of no known kind", "a.wav")


@settings(max_examples=250, deadline=None)
@given(data=st.data(), kind=st.sampled_from(sorted(FORMATS)))
def test_a_damaged_file_gives_sound_or_one_line(data: st.DataObject, kind: str) -> None:
    content = bytearray(spoken(kind))
    near = st.integers(0, 400) | st.integers(0, len(content) - 1)
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(near)
        content[at : at + 4] = data.draw(st.binary(min_size=1, max_size=4) | st.sampled_from([b"\xff" * 4, bytes(4)]))
    cut = data.draw(st.integers(1, len(content)) | st.just(len(content)))
    try:
        found = decode_sound(bytes(content[:cut]), f"a.{kind}")
    except InputError as error:
        told = str(error)
    else:
        told = found.note
        assert found.samples.dtype == np.int16
        assert found.sample_rate >= 1000
    assert "\n" not in told
