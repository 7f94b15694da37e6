"""Reading and writing audio files: mono 16-bit samples, whatever the file's header says or fails to say."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from earwitness.errors import InputError

Pcm = NDArray[np.int16]

_REMEDY = "give a sound file (WAV, FLAC, AIFF, Ogg) with at least one sample"
_INT16_EXACT = {"PCM_16", "PCM_S8", "PCM_U8", "ULAW", "ALAW", "GSM610", "IMA_ADPCM", "MS_ADPCM"}
"""Encodings whose samples all fit 16 bits, so that libsndfile's int16 reading loses nothing."""


def read_wav(path: str | Path) -> tuple[Pcm, int]:
    """Samples (n,) int16, mono, and the sample rate in Hz.

    16-bit samples come back bit for bit; several channels are averaged; wider samples are rounded. A WAV whose
    header says no or the wrong length of data (a recorder that was stopped hard) is read to the end of the
    file. Raises `InputError` where the file is missing, empty or not audio.
    """
    file = Path(path)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError("reading the sound file", path, error.strerror or error, _REMEDY) from error
    if not content:
        raise InputError("reading the sound file", path, "it is empty (0 bytes)", _REMEDY)
    samples, rate = decode_audio(content, str(path))
    if not len(samples):
        raise InputError("reading the sound file", path, "it has a header but no sound", _REMEDY)
    return samples, rate


def decode_audio(content: bytes, name: str) -> tuple[Pcm, int]:
    """As `read_wav`, from the bytes of a file; (0,) where there is no sound. `name` is for the error."""
    try:
        with soundfile.SoundFile(io.BytesIO(_repaired(content))) as sound:
            rate = int(sound.samplerate)
            if sound.subtype in _INT16_EXACT:
                channels = sound.read(dtype="int16", always_2d=True)
                return _mixed_down(channels.astype(np.float64) if channels.shape[1] > 1 else channels), rate
            return _mixed_down(sound.read(dtype="float64", always_2d=True) * 32768.0), rate
    except (soundfile.LibsndfileError, RuntimeError, ValueError, struct.error) as error:
        text = str(error).removeprefix("Error opening ").split(": ", 1)[-1]
        raise InputError("reading the sound file", name, f"not audio: {text}", _REMEDY) from error


def write_wav(path: str | Path, samples: Pcm, rate: int) -> None:
    """Write (n,) int16 as a mono 16-bit WAV with the plain 44-byte header, always the same bytes."""
    data = np.ascontiguousarray(samples, dtype="<i2").tobytes()
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
    header = b"RIFF" + struct.pack("<I", 4 + len(form) + 8 + len(data)) + b"WAVE" + form
    Path(path).write_bytes(header + b"data" + struct.pack("<I", len(data)) + data)


def resample(samples: Pcm, rate: int, wanted: int) -> Pcm:
    """The same sound at another sample rate, aligned in time, without dither, so always the same samples."""
    if rate == wanted:
        return samples
    return to_int16(soxr.resample(samples.astype(np.float64), rate, wanted, quality="VHQ"))


def to_int16(samples: NDArray[np.floating] | NDArray[np.float64]) -> Pcm:
    """Rounded and limited to 16 bits."""
    return np.clip(np.rint(samples), -32768, 32767).astype(np.int16)


def _mixed_down(channels: NDArray[np.generic]) -> Pcm:
    """(n, channels) in 16-bit units to (n,) int16."""
    if channels.dtype == np.int16:
        return np.ascontiguousarray(channels[:, 0])
    return to_int16(channels.astype(np.float64).mean(axis=1))


def _repaired(content: bytes) -> bytes:
    """A WAV reduced to its format and data, with true lengths; anything else as it is."""
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        return content
    form, at = b"", 12
    while at + 8 <= len(content):
        tag, size = struct.unpack_from("<4sI", content, at)
        body = at + 8
        if tag == b"fmt ":
            form = content[body : body + size]
        elif tag == b"data" and len(form) >= 16:
            data = content[body : body + size]
            if size == 0 and not _is_chunk_list(content, body):
                data = content[body:]
            block = max(1, struct.unpack_from("<H", form, 12)[0])
            return _wav(form, data[: len(data) - len(data) % block])
        at = body + size + (size & 1)
    return content


def _is_chunk_list(content: bytes, at: int) -> bool:
    """Whether what begins at `at` is nothing, or whole RIFF chunks up to the end: then no sound is hidden there."""
    while at + 8 <= len(content):
        tag, size = struct.unpack_from("<4sI", content, at)
        if not (tag.isascii() and tag.decode("ascii").isprintable()):
            return False
        at += 8 + size + (size & 1)
    return at == len(content)


def _wav(form: bytes, data: bytes) -> bytes:
    chunks = b"fmt " + struct.pack("<I", len(form)) + form + b"\0" * (len(form) & 1)
    chunks += b"data" + struct.pack("<I", len(data)) + data + b"\0" * (len(data) & 1)
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks
