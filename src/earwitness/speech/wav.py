"""Reads and writes audio files: mono 16-bit samples, even if the header is wrong or incomplete.

A header may claim anything, and 2 MB of FLAC can hold hours, so audio is decoded in blocks, up to a limit.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from earwitness.arrays import Pcm
from earwitness.errors import InputError
from earwitness.files import MIB, FileTooLarge, read_regular

_REMEDY = "give a sound file (WAV, FLAC, AIFF, Ogg) with at least one sample"
MOST_FILE_BYTES = 128 * MIB
"""2 hours of 16-bit samples at 8 kHz, 11 minutes of stereo at 48 kHz."""
MOST_SAMPLES = 2**27
"""Decoded samples of all channels: 4.6 hours at 8 kHz, 23 minutes of stereo at 48 kHz."""
MOST_RESAMPLED = 60_000_000
"""Samples converted to another rate, input plus output: 18 minutes between 8 and 48 kHz."""
LEAST_RATE, MOST_RATE = 1000, 768_000
"""Accepted sample rates, Hz."""
_NO_SOUND = 1e30
"""Full scale is 1; values above this are infinite, or the file is not audio."""
_BLOCK_SAMPLES = 2**20
_MOST_CHUNKS = 10_000
_TOO_LONG = "cut it to the part that matters (sox IN OUT trim START SECONDS), or convert it to 8 kHz mono"
_INT16_EXACT = {"PCM_16", "PCM_S8", "PCM_U8", "ULAW", "ALAW", "GSM610", "IMA_ADPCM", "MS_ADPCM"}
"""Encodings whose samples all fit 16 bits, so that reading them as int16 with libsndfile is lossless."""


def read_wav(path: str | Path) -> tuple[Pcm, int]:
    """Samples (n,) int16, mono, and the sample rate in Hz.

    16-bit samples are returned unchanged; several channels are averaged; wider samples are rounded. A WAV file whose
    header has no data length or a wrong one (from an interrupted recorder) is read to the end of the file. Raises
    `InputError` if the file is missing, empty, not audio, too large or too long (`MOST_FILE_BYTES`, `MOST_SAMPLES`), or
    holds a sample that is not a finite number.
    """
    content = read_sound_file(path)
    if not content:
        raise InputError("reading the sound file", path, "it is empty (0 bytes)", _REMEDY)
    samples, rate = decode_audio(content, str(path))
    if not len(samples):
        raise InputError("reading the sound file", path, "it has a header but no sound", _REMEDY)
    return samples, rate


def read_sound_file(path: str | Path) -> bytes:
    """The bytes of a sound file. Raises `InputError` if it cannot be read, or is larger than `MOST_FILE_BYTES`."""
    try:
        return read_regular(path, MOST_FILE_BYTES)
    except OSError as error:
        happened = error.strerror or error
        remedy = _TOO_LONG if isinstance(error, FileTooLarge) else _REMEDY
        raise InputError("reading the sound file", path, happened, remedy) from error


def decode_audio(content: bytes, name: str) -> tuple[Pcm, int]:
    """As `read_wav`, from the bytes of a file; (0,) if there is no audio. `name` appears in errors."""
    try:
        with soundfile.SoundFile(_Content(_repaired(content))) as sound:
            rate, channels = int(sound.samplerate), int(sound.channels)
            if not LEAST_RATE <= rate <= MOST_RATE:
                happened = f"its sample rate is {rate} Hz, outside {LEAST_RATE} to {MOST_RATE} Hz"
                raise InputError("reading the sound file", name, happened, _REMEDY)
            if sound.frames * channels > MOST_SAMPLES:
                raise _too_long(name, rate * channels)
            found = bytearray()
            for part in _blocks(sound, max(1, _BLOCK_SAMPLES // channels), name):
                found += part.data
                if len(found) // 2 * channels > MOST_SAMPLES:
                    raise _too_long(name, rate * channels)
            return np.frombuffer(found, dtype=np.int16), rate
    except (soundfile.LibsndfileError, RuntimeError, ValueError, struct.error) as error:
        text = str(error).removeprefix("Error opening ").split(": ", 1)[-1]
        raise InputError("reading the sound file", name, f"not audio: {text}", _REMEDY) from error


class _Content(io.BytesIO):
    """A file's bytes. libsndfile seeks to impossible positions if a header says so; then the position stays unchanged,
    because an exception raised here would be printed instead of propagated."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        try:
            return super().seek(offset, whence)
        except (ValueError, OverflowError):
            return self.tell()


def _too_long(name: str, samples_a_second: int) -> InputError:
    happened = f"it lasts longer than {MOST_SAMPLES / samples_a_second / 60:.0f} minutes"
    return InputError("reading the sound file", name, happened, _TOO_LONG)


def _blocks(sound: soundfile.SoundFile, frames: int, name: str) -> Iterator[Pcm]:
    """The audio of an open file, `frames` at a time, mixed down to (n,) int16."""
    exact = sound.subtype in _INT16_EXACT
    done = 0
    while True:
        block = sound.read(frames, dtype="int16" if exact else "float64", always_2d=True)
        if not len(block):
            return
        if exact:
            yield _mixed_down(block.astype(np.float64) if block.shape[1] > 1 else block)
        else:
            sane = (np.abs(block) < _NO_SOUND).all(axis=1)  # never true of NaN
            if not sane.all():
                row = int(np.argmin(sane))
                worst = next(value for value in block[row].tolist() if not abs(value) < _NO_SOUND)
                at = done + row
                happened = f"sample {at + 1} ({at / sound.samplerate:.3f} s) is {worst:g}, which is not an audio sample"
                raise InputError("reading the sound file", name, happened, "record or convert the sound again")
            yield _mixed_down(block * 32768.0)
        done += len(block)


def write_wav(path: str | Path, samples: Pcm, rate: int) -> None:
    """Write (n,) int16 as a mono 16-bit WAV file with a plain 44-byte header; the output is deterministic."""
    data = np.ascontiguousarray(samples, dtype="<i2").tobytes()
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
    header = b"RIFF" + struct.pack("<I", 4 + len(form) + 8 + len(data)) + b"WAVE" + form
    Path(path).write_bytes(header + b"data" + struct.pack("<I", len(data)) + data)


def resample(samples: Pcm, rate: int, wanted: int) -> Pcm:
    """Resample audio, aligned in time and without dither, so the result is deterministic.

    Raises `InputError` if it would exceed `MOST_RESAMPLED`.
    """
    if rate == wanted:
        return samples
    if len(samples) * (rate + wanted) > MOST_RESAMPLED * rate:
        happened = f"{len(samples) / rate / 60:.0f} minutes of it are too long"
        raise InputError(f"converting to {wanted} Hz", f"sound at {rate} Hz", happened, _TOO_LONG)
    return to_int16(soxr.resample(samples.astype(np.float64), rate, wanted, quality="VHQ"))


def to_int16(samples: NDArray[np.floating] | NDArray[np.float64]) -> Pcm:
    """Round and clip to 16 bits."""
    return np.clip(np.rint(samples), -32768, 32767).astype(np.int16)


def _mixed_down(channels: NDArray[np.generic]) -> Pcm:
    """(n, channels) in 16-bit units to (n,) int16."""
    if channels.dtype == np.int16:
        return np.ascontiguousarray(channels[:, 0])
    return to_int16(channels.astype(np.float64).mean(axis=1))


def _repaired(content: bytes) -> bytes:
    """A WAV file reduced to its format and data chunks, with correct lengths; other files unchanged."""
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        return content
    form, at = b"", 12
    for _ in range(_MOST_CHUNKS):
        if at + 8 > len(content):
            break
        tag, size = struct.unpack_from("<4sI", content, at)
        body = at + 8
        if tag == b"fmt ":
            form = content[body : body + size]
        elif tag == b"data" and len(form) >= 16:
            end = len(content) if size == 0 and not _is_chunk_list(content, body) else min(body + size, len(content))
            block = max(1, struct.unpack_from("<H", form, 12)[0])
            return _wav(form, memoryview(content)[body : end - (end - body) % block])
        at = body + size + (size & 1)
    return content


def _is_chunk_list(content: bytes, at: int) -> bool:
    """Whether the bytes from `at` are nothing, or complete RIFF chunks up to the end, and so hold no audio."""
    for _ in range(_MOST_CHUNKS):
        if at + 8 > len(content):
            return at == len(content)
        tag, size = struct.unpack_from("<4sI", content, at)
        if not (tag.isascii() and tag.decode("ascii").isprintable()):
            return False
        at += 8 + size + (size & 1)
    return False


def _wav(form: bytes, data: memoryview) -> bytes:
    chunks = b"fmt " + struct.pack("<I", len(form)) + form + b"\0" * (len(form) & 1)
    chunks += b"data" + struct.pack("<I", len(data))
    padding = b"\0" * (len(data) & 1)
    whole = 4 + len(chunks) + len(data) + len(padding)
    return b"".join((b"RIFF", struct.pack("<I", whole), b"WAVE", chunks, data, padding))
