"""Sound files that are bombs or lies: one line, and memory that has an end."""

from __future__ import annotations

import os
import random
import resource
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from earwitness.errors import InputError
from earwitness.published.recording import read_recording
from earwitness.score.files import score_files
from earwitness.score.kind import ScorerRefused
from earwitness.score.pesq import samples_as_published
from earwitness.speech import level, wav
from earwitness.speech.level import speech_level
from earwitness.speech.reference import check_usable, speech
from earwitness.speech.wav import decode_audio, read_wav, resample, write_wav

SAMPLES = (8000 * np.sin(np.arange(8000) / 7.3)).astype(np.int16)


def wav_of(data: bytes, *, rate: int = 8000, channels: int = 1, bits: int = 16, code: int = 1) -> bytes:
    """A WAV whose header says this."""
    block = channels * bits // 8
    form = struct.pack("<HHIIHH", code, channels, rate, rate * block & 0xFFFFFFFF, block & 0xFFFF, bits)
    chunks = b"fmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


@pytest.mark.parametrize("rate", [0, 1, 999, 768_001, 2**31, 2**32 - 1])
def test_a_rate_that_no_recording_has(tmp_path: Path, rate: int) -> None:
    (tmp_path / "a.wav").write_bytes(wav_of(SAMPLES.tobytes(), rate=rate))
    with pytest.raises(InputError) as caught:
        read_wav(tmp_path / "a.wav")
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError):
        speech(tmp_path / "a.wav")


@pytest.mark.parametrize("channels", [0, 1025, 65_535])
def test_channels_that_no_recording_has(channels: int) -> None:
    with pytest.raises(InputError):
        decode_audio(wav_of(SAMPLES.tobytes(), channels=channels), "a")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize(("subtype", "format_"), [("FLOAT", "WAV"), ("DOUBLE", "WAV"), ("FLOAT", "AIFF")])
def test_a_sample_that_is_no_number_is_refused_and_named(
    tmp_path: Path, bad: float, subtype: str, format_: str
) -> None:
    """One of them became a full-scale sample, and the file scored good."""
    samples = np.stack([SAMPLES, SAMPLES], axis=1) / 32768.0
    samples[4000, 1] = bad
    soundfile.write(tmp_path / "a", samples, 8000, subtype=subtype, format=format_)
    with pytest.raises(
        InputError, match=r"sample 4001 \(0\.500 s\) is -?(nan|inf|1e\+300), which is not an audio sample"
    ):
        read_wav(tmp_path / "a")


def test_one_that_is_no_number_in_a_recording_is_a_doubt(tmp_path: Path) -> None:
    samples = SAMPLES / 32768.0
    samples[7] = np.nan
    soundfile.write(tmp_path / "a.wav", samples, 8000, subtype="FLOAT")
    (doubt,) = read_recording(tmp_path / "a.wav", "a.wav", as_published=False).doubts
    assert "sample 8 " in doubt.detail


def test_sound_longer_than_any_bound_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    """Hours of silence, in a few kB of FLAC."""
    code = """
import re, sys
from earwitness.errors import InputError
from earwitness.speech.wav import read_wav
peak = lambda: int(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1])
before = peak()
try:
    read_wav(sys.argv[1])
except InputError as error:
    print((peak() - before) // 1024, error)
"""
    with soundfile.SoundFile(tmp_path / "a.flac", "w", 8000, 8, format="FLAC") as file:
        silence = np.zeros((2**20, 8), dtype=np.int16)
        for _ in range(wav.MOST_SAMPLES // 2**20 // 32):
            file.write(silence)
    content = bytearray((tmp_path / "a.flac").read_bytes())
    # STREAMINFO: the last 36 bits before the checksum are the number of samples; as if it had eight times as many.
    assert int.from_bytes(content[21:26], "big") & (2**36 - 1) == wav.MOST_SAMPLES // 32
    content[21:26] = (int.from_bytes(content[21:26], "big") // 2**36 * 2**36 + wav.MOST_SAMPLES // 8 + 1).to_bytes(
        5, "big"
    )
    (tmp_path / "a.flac").write_bytes(content)
    assert len(content) < 2**20
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.flac")], capture_output=True, text=True, check=True
    )
    grown, told = done.stdout.split(" ", 1)
    assert int(grown) < 64
    assert "lasts longer than 35 minutes" in told


def test_a_header_that_says_too_little_does_not_get_past_the_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wav, "MOST_SAMPLES", 5000)
    monkeypatch.setattr(soundfile.SoundFile, "frames", property(lambda _: 4000))
    monkeypatch.setattr(wav, "_BLOCK_SAMPLES", 1000)
    monkeypatch.setattr(soundfile.SoundFile, "seekable", lambda _: False)
    with pytest.raises(InputError, match="lasts longer than"):
        decode_audio(wav_of(SAMPLES.tobytes()), "a")


@pytest.mark.timeout(60)
def test_what_is_no_file_or_too_large_is_one_line_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.wav")
    (tmp_path / "large.wav").write_bytes(wav_of(b"")[:44])
    os.truncate(tmp_path / "large.wav", 1 << 30)
    for path, told in (
        (tmp_path / "fifo.wav", "a pipe"),
        (Path("/dev/zero"), "a device"),
        (tmp_path, "a directory"),
        (tmp_path / "large.wav", "too large"),
    ):
        for read in (read_wav, samples_as_published, lambda p: read_recording(p, "a", as_published=True)):
            with pytest.raises(InputError, match=told):
                read(path)
        with pytest.raises(InputError, match=told):
            score_files(path, path)


def test_blocks_give_what_one_reading_gives(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    noise = rng.normal(0, 0.1, (50_000, 2))
    for subtype, format_ in (
        ("PCM_16", "WAV"),
        ("FLOAT", "WAV"),
        ("PCM_24", "FLAC"),
        ("VORBIS", "OGG"),
        ("ULAW", "AU"),
    ):
        soundfile.write(tmp_path / "a", noise, 16000, subtype=subtype, format=format_)
        whole = read_wav(tmp_path / "a", "mix")[0]
        monkeypatch.setattr(wav, "_BLOCK_SAMPLES", 777)
        assert np.array_equal(read_wav(tmp_path / "a", "mix")[0], whole)
        monkeypatch.undo()
        assert len(whole) == 50_000


def test_the_level_of_blocks_is_the_level_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    said = speech("allison-10s").samples
    whole = level._active_samples(said, 8000, 1600)
    for block in (7, 999, 8000):
        assert np.array_equal(
            level._active_samples(said[:20_000], 8000, 1600, block), level._active_samples(said[:20_000], 8000, 1600)
        )
    assert np.array_equal(level._active_samples(said, 8000, 1600, 999), whole)
    assert speech_level(said, 8000).active_dbov == pytest.approx(-26.0, abs=0.1)


def test_converting_and_speech_have_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wav, "MOST_RESAMPLED", 20_000)
    assert len(resample(SAMPLES, 8000, 8000)) == 8000
    assert len(resample(SAMPLES, 8000, 4000)) == 4000
    with pytest.raises(InputError, match="converting to 48000 Hz"):
        resample(SAMPLES, 8000, 48000)
    with pytest.raises(InputError, match="lasts 33 minutes, more than 30"):
        check_usable(np.resize(SAMPLES, 2000 * 1000), 1000, "a")


def test_sound_too_long_to_score_is_refused_before_it_is_converted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wav(tmp_path / "a.wav", np.resize(SAMPLES, 91 * 16000), 16000)
    monkeypatch.setattr(wav, "MOST_RESAMPLED", 0)
    with pytest.raises(ScorerRefused, match="the reference lasts 91 s, more than 90"):
        score_files(tmp_path / "a.wav", tmp_path / "a.wav")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("chunk", [b"junk\0\0\0\0", b"LIST\0\0\0\0", b"data\0\0\0\0", b"fmt \0\0\0\0"])
def test_chunks_without_end_and_of_no_length(chunk: bytes) -> None:
    """A million chunks of 8 bytes; what libsndfile makes of them is its word."""
    body = b"WAVE" + chunk * 1_000_000
    content = b"RIFF" + struct.pack("<I", len(body)) + body
    assert decoded(content) in (None, 0)


def decoded(content: bytes) -> int | None:
    """How many samples there are; None where it is refused in one line."""
    try:
        samples, rate = decode_audio(content, "broken")
    except InputError as error:
        told = str(error)
    else:
        assert samples.dtype == np.int16
        assert wav.LEAST_RATE <= rate <= wav.MOST_RATE
        return len(samples)
    assert "\n" not in told
    return None


def broken_sounds() -> list[bytes]:
    """Sound files of every kind that is read."""
    import io

    found = [wav_of(SAMPLES[:400].tobytes()), wav_of(SAMPLES[:400].tobytes(), channels=2)]
    for format_, subtype in (
        ("WAV", "FLOAT"),
        ("WAV", "GSM610"),
        ("WAV", "IMA_ADPCM"),
        ("WAVEX", "PCM_24"),
        ("RF64", "PCM_16"),
        ("W64", "PCM_16"),
        ("AIFF", "PCM_16"),
        ("AU", "ULAW"),
        ("FLAC", "PCM_16"),
        ("OGG", "VORBIS"),
        ("OGG", "OPUS"),
        ("CAF", "ALAC_16"),
    ):
        stream = io.BytesIO()
        soundfile.write(stream, np.resize(SAMPLES, 4000) / 32768.0, 8000, format=format_, subtype=subtype)
        found.append(stream.getvalue())
    return found


def mutated(data: bytes, rng: random.Random) -> bytes:
    """One broken copy, mostly in its head: bits, words, cuts, repeats."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        within = min(len(changed), rng.choice((64, 200, len(changed) + 1)))
        if not within:
            break
        at, kind = rng.randrange(within), rng.randrange(6)
        if kind == 0:
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            word = rng.choice((0, 1, 2, 8, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, 0xFFFFFFF8, len(changed), 65_535))
            changed[at : at + 4] = word.to_bytes(4, rng.choice(("little", "big")))
        elif kind == 2:
            del changed[at:]
        elif kind == 3:
            del changed[at : at + rng.choice((1, 2, 4, 8, 100))]
        elif kind == 4:
            changed[at:at] = changed[at : at + rng.choice((4, 8, 24))] * rng.choice((1, 2, 50, 2000))
        else:
            changed[at] = rng.randrange(256)
    return bytes(changed)


@pytest.mark.timeout(120)
@pytest.mark.filterwarnings("error")
def test_broken_sounds_give_samples_or_one_line_in_bounded_memory() -> None:
    rng = random.Random(8)
    whole = broken_sounds()
    for data in whole:
        assert len(decode_audio(data, "whole")[0])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    read = 0
    for _ in range(1500):
        read += decoded(mutated(rng.choice(whole), rng)) is not None
    assert 300 < read < 1500
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 128 * 1024
