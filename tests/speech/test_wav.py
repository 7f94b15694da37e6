"""Sound files as they are found: broken headers, other formats, other rates."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from earwitness.errors import InputError
from earwitness.speech.codecs.g711 import expansion
from earwitness.speech.wav import decode_audio, read_sound, read_wav, resample, write_wav

SAMPLES = (8000 * np.sin(np.arange(8000) / 7.3)).astype(np.int16)


def test_what_is_written_is_read_bit_for_bit(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", SAMPLES, 8000)
    samples, rate = read_wav(tmp_path / "a.wav")
    assert rate == 8000
    assert np.array_equal(samples, SAMPLES)
    assert (tmp_path / "a.wav").stat().st_size == 44 + 2 * len(SAMPLES)
    assert soundfile.info(tmp_path / "a.wav").frames == len(SAMPLES)


@pytest.mark.parametrize("said", [0, 0xFFFFFFFF, 10**6])
def test_a_header_that_lies_about_the_length_does_no_harm(tmp_path: Path, said: int) -> None:
    write_wav(tmp_path / "a.wav", SAMPLES, 8000)
    content = bytearray((tmp_path / "a.wav").read_bytes())
    content[40:44] = struct.pack("<I", said)
    content[4:8] = struct.pack("<I", said and 36)
    assert np.array_equal(decode_audio(bytes(content), "a")[0], SAMPLES)


def test_a_longer_header_and_an_odd_byte_at_the_end(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", SAMPLES, 8000)
    content = (tmp_path / "a.wav").read_bytes()
    listed = b"LIST" + struct.pack("<I", 26) + b"INFOISFT" + struct.pack("<I", 14) + b"Lavf58.29.100\0"
    longer = content[:36] + listed + content[36:] + b"\x7f"
    assert np.array_equal(decode_audio(longer, "a")[0], SAMPLES)


def test_a_truly_empty_recording_with_chunks_after_it_is_empty() -> None:
    head = b"RIFF" + struct.pack("<I", 62) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 16000, 2, 16)
    content = head + b"data" + struct.pack("<I", 0) + b"LIST" + struct.pack("<I", 18) + b"INFOISFT" + bytes(10)
    assert len(decode_audio(content, "a")[0]) == 0


@pytest.mark.parametrize(("format_", "subtype"), [("WAVEX", "PCM_16"), ("FLAC", "PCM_16"), ("AIFF", "PCM_16")])
def test_other_containers_of_the_same_samples(tmp_path: Path, format_: str, subtype: str) -> None:
    soundfile.write(tmp_path / "a", SAMPLES, 16000, format=format_, subtype=subtype)
    samples, rate = read_wav(tmp_path / "a")
    assert rate == 16000
    assert np.array_equal(samples, SAMPLES)


def test_mu_law_wav_decodes_as_the_standard_says(tmp_path: Path) -> None:
    codes = np.arange(256, dtype=np.uint8)
    soundfile.write(tmp_path / "a.wav", expansion("u"), 8000, subtype="ULAW")
    content = bytearray((tmp_path / "a.wav").read_bytes())
    content[-256:] = codes.tobytes()
    assert np.array_equal(decode_audio(bytes(content), "a")[0], expansion("u"))


@pytest.mark.parametrize(("subtype", "within"), [("PCM_24", 1), ("FLOAT", 1), ("PCM_32", 1)])
def test_wider_samples_are_rounded(tmp_path: Path, subtype: str, within: int) -> None:
    soundfile.write(tmp_path / "a.wav", SAMPLES / 32768.0, 8000, subtype=subtype)
    assert np.abs(read_wav(tmp_path / "a.wav")[0].astype(int) - SAMPLES).max() <= within


@pytest.mark.parametrize(("loudest", "said"), [(1.0, ""), (1.5, "beyond full scale")])
def test_samples_beyond_full_scale_are_clipped_and_told(tmp_path: Path, loudest: float, said: str) -> None:
    tone = loudest * np.sin(np.arange(8000) * 0.1)
    path = tmp_path / "loud.wav"
    soundfile.write(path, tone, 8000, subtype="FLOAT")
    found = read_sound(path)
    assert said in found.note
    assert bool(found.note) == bool(said)
    assert int(found.samples.max()) == 32767


@pytest.mark.parametrize(
    "content", [b"", b"RIFF", b"hello, this is no sound at all" * 9, b"RIFF\0\0\0\0WAVEdata\0\0\0\0"]
)
def test_what_is_not_audio_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_wav(tmp_path / "a.wav")
    assert "\n" not in str(caught.value)
    assert "a.wav" in str(caught.value)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_wav(tmp_path / "none.wav")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_wav_gives_samples_or_a_typed_error(data: st.DataObject) -> None:
    body = SAMPLES[:200].tobytes()
    form = struct.pack("<IHHIIHH", 16, 1, 1, 8000, 16000, 2, 16)
    content = bytearray(b"RIFF" + struct.pack("<I", 36 + len(body)) + b"WAVEfmt " + form + b"data")
    content += struct.pack("<I", len(body)) + body
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, 60))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    try:
        samples, rate = decode_audio(bytes(content[:cut]), "damaged")
    except InputError:
        return
    assert samples.dtype == np.int16
    assert rate > 0


def test_resampling_keeps_time_and_tone() -> None:
    tone = np.rint(8000 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)).astype(np.int16)
    down = resample(tone, 16000, 8000)
    expected = 8000 * np.sin(2 * np.pi * 440 * np.arange(8000) / 8000)
    assert len(down) == 8000
    assert np.abs(down - expected)[200:-200].max() < 5
    assert resample(tone, 16000, 16000) is tone
