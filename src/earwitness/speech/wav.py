"""Reads and writes audio files: one channel of 16-bit samples, even if the header is wrong or incomplete.

A header may claim anything, and 2 MB of FLAC can hold hours, so audio is decoded in blocks, up to a limit.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile
import soxr

from earwitness.arrays import F64, Pcm
from earwitness.errors import InputError
from earwitness.files import MIB, FileTooLarge, read_regular
from earwitness.speech.channels import ChannelChoice
from earwitness.speech.ffmpeg import Container, container_of, open_with_ffmpeg
from earwitness.speech.samples import to_int16

_REMEDY = "give a sound file (WAV, FLAC, AIFF, Ogg, MP3; with the extra codecs also M4A, WebM, AMR, WMA, G.722)"
MOST_FILE_BYTES = 128 * MIB
"""2 hours of 16-bit samples at 8 kHz, 11 minutes of stereo at 48 kHz."""
MOST_SAMPLES = 2**27
"""Decoded samples of all channels: 4.6 hours at 8 kHz, 23 minutes of stereo at 48 kHz."""
MOST_RESAMPLED = 60_000_000
"""Samples converted to another rate, input plus output: 18 minutes between 8 and 48 kHz."""
LEAST_RATE, MOST_RATE = 1000, 768_000
"""Accepted sample rates, Hz."""
MOST_CHANNELS = 1024
_FULL_SCALE = 32768.5
_NO_SOUND = 1e30 * 32768.0
"""Full scale is 32768; values above this are infinite, or the file is not audio."""
_BLOCK_SAMPLES = 2**20
_GSM_BLOCK_BYTES, _GSM_BLOCK_SAMPLES = 65, 320
"""Of GSM in WAV: two frames."""
_MOST_CHUNKS = 10_000
_TOO_LONG = "cut it to the part that matters (sox IN OUT trim START SECONDS), or convert it to 8 kHz mono"
_INT16_EXACT = {"PCM_16", "PCM_S8", "PCM_U8", "ULAW", "ALAW", "GSM610", "IMA_ADPCM", "MS_ADPCM"}
"""Encodings whose samples all fit 16 bits, so that reading them as int16 with libsndfile is lossless."""


@dataclass(frozen=True, eq=False)
class SoundFile:
    """One channel of a sound file."""

    samples: Pcm
    """(n,) int16."""
    sample_rate: int
    """Hz."""
    channels: int
    """How many the file has."""
    channel: str
    """Which one this is: `left`, `right`, `channel 3`, or `mix` of all; empty if the file has only one."""
    note: str
    """For people: which channel it is, and what else was assumed of the file; empty if nothing."""


def read_sound(path: str | Path, channel: str | int | None = None, *, field: str = "") -> SoundFile:
    """Read one channel of a sound file.

    16-bit samples are returned unchanged; wider samples are rounded. A WAV file whose header has no data length or a
    wrong one (from an interrupted recorder) is read to the end of the file. What libsndfile cannot read is read by
    FFmpeg (the extra `codecs`). `channel`: `left`, `right`, `mix` (the mean), or a number from 1; None: any, if they
    are alike. `field` is the caller's setting for it, for errors to name, if there is one.

    Raises `InputError` if the file is missing, empty, not audio, too large or too long (`MOST_FILE_BYTES`,
    `MOST_SAMPLES`), holds a sample that is not a finite number, has no such channel, or has several that differ and
    none was chosen.
    """
    content = read_sound_file(path)
    if not content:
        raise InputError("reading the sound file", path, "it is empty (0 bytes)", _REMEDY)
    found = decode_sound(content, str(path), channel, field=field)
    if not len(found.samples):
        raise InputError("reading the sound file", path, "it has a header but no sound", _REMEDY)
    return found


def read_wav(path: str | Path, channel: str | int | None = None) -> tuple[Pcm, int]:
    """Samples (n,) int16 of one channel, and the sample rate in Hz: as `read_sound`."""
    found = read_sound(path, channel)
    return found.samples, found.sample_rate


def read_sound_file(path: str | Path) -> bytes:
    """The bytes of a sound file. Raises `InputError` if it cannot be read, or is larger than `MOST_FILE_BYTES`."""
    try:
        return read_regular(path, MOST_FILE_BYTES)
    except OSError as error:
        happened = error.strerror or error
        remedy = _TOO_LONG if isinstance(error, FileTooLarge) else _REMEDY
        raise InputError("reading the sound file", path, happened, remedy) from error


def decode_audio(content: bytes, name: str, channel: str | int | None = None) -> tuple[Pcm, int]:
    """As `read_wav`, from the bytes of a file; (0,) if there is no audio. `name` appears in errors."""
    found = decode_sound(content, name, channel)
    return found.samples, found.sample_rate


def decode_sound(content: bytes, name: str, channel: str | int | None = None, *, field: str = "") -> SoundFile:
    """As `read_sound`, from the bytes of a file; (0,) if there is no audio. `name` appears in errors."""
    whole = _repaired(content)
    container = container_of(whole, name)
    if container is not None and not container.shared:
        return _by_ffmpeg(whole, name, container, channel, field)
    try:
        with soundfile.SoundFile(_Content(whole)) as sound:
            rate, channels = int(sound.samplerate), int(sound.channels)
            _check(rate, channels, sound.frames, name)
            return _one_channel(_blocks(sound, channels, _gsm_samples(whole)), rate, channels, name, channel, field)
    except (soundfile.LibsndfileError, RuntimeError, ValueError, struct.error) as error:
        if container is not None:
            return _by_ffmpeg(whole, name, container, channel, field)
        text = str(error).removeprefix("Error opening ").split(": ", 1)[-1]
        raise InputError("reading the sound file", name, f"not audio: {text}", _REMEDY) from error


def _by_ffmpeg(content: bytes, name: str, container: Container, channel: str | int | None, field: str) -> SoundFile:
    sound = open_with_ffmpeg(content, name, container)
    _check(sound.sample_rate, sound.channels, 0, name)
    found = _one_channel(sound.blocks, sound.sample_rate, sound.channels, name, channel, field)
    return replace(found, note="; ".join(filter(None, (found.note, *sound.notes))))


def _check(rate: int, channels: int, frames: int, name: str) -> None:
    """Refuse what a header says of a sound, before anything is decoded."""
    if not LEAST_RATE <= rate <= MOST_RATE:
        happened = f"its sample rate is {rate} Hz, outside {LEAST_RATE} to {MOST_RATE} Hz"
        raise InputError("reading the sound file", name, happened, _REMEDY)
    if not 1 <= channels <= MOST_CHANNELS:
        raise InputError("reading the sound file", name, f"it has {channels} channels", _REMEDY)
    if frames * channels > MOST_SAMPLES:
        raise _too_long(name, rate * channels)


def _one_channel(
    blocks: Iterator[Pcm | F64], rate: int, channels: int, name: str, channel: str | int | None, field: str
) -> SoundFile:
    """The channel asked for, of blocks of (n, channels) in 16-bit units."""
    choice = ChannelChoice(channels, rate, channel, name, field)
    found = bytearray()
    beyond = 0
    for block in blocks:
        if block.dtype == np.float64:
            _check_samples(block, len(found) // 2, rate, name)
            beyond += int(np.count_nonzero(np.abs(block) > _FULL_SCALE))
        found += choice.take(block).data
        if len(found) // 2 * channels > MOST_SAMPLES:
            raise _too_long(name, rate * channels)
    choice.finish()
    clipped = f"{beyond} samples are beyond full scale: clipped" if beyond else ""
    note = "; ".join(filter(None, (choice.note, clipped)))
    return SoundFile(np.frombuffer(found, dtype=np.int16), rate, channels, choice.channel, note)


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


def _blocks(sound: soundfile.SoundFile, channels: int, most: int | None) -> Iterator[Pcm | F64]:
    """The audio of an open file, (n, channels) in 16-bit units, a megasample at a time; `most` n in all."""
    exact = sound.subtype in _INT16_EXACT
    while True:
        block = sound.read(max(1, _BLOCK_SAMPLES // channels), dtype="int16" if exact else "float64", always_2d=True)
        block = block[:most]
        most = None if most is None else most - len(block)
        if not len(block):
            return
        yield block if exact else block * 32768.0


def _gsm_samples(content: bytes) -> int | None:
    """How many samples a repaired WAV file of GSM has; None for other files.

    libsndfile takes the padding byte after an odd number of blocks for one block more, and makes 40 ms of it.
    """
    if content[8:16] != b"WAVEfmt " or content[20:22] != b"\x31\0":
        return None
    size = int.from_bytes(content[16:20], "little")
    data = 20 + size + (size & 1)
    if content[data : data + 4] != b"data":
        return None
    return int.from_bytes(content[data + 4 : data + 8], "little") // _GSM_BLOCK_BYTES * _GSM_BLOCK_SAMPLES


def _check_samples(block: Pcm | F64, before: int, rate: int, name: str) -> None:
    """Refuse a sample that is not a number, or none of sound; `before`: samples before this block."""
    sane = (np.abs(block) < _NO_SOUND).all(axis=1)  # never true of NaN
    if not sane.all():
        row = int(np.argmin(sane))
        worst = next(value for value in block[row].tolist() if not abs(value) < _NO_SOUND) / 32768.0
        at = before + row
        happened = f"sample {at + 1} ({at / rate:.3f} s) is {worst:g}, which is not an audio sample"
        raise InputError("reading the sound file", name, happened, "record or convert the sound again")


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
