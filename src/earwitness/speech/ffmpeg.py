"""Decodes sound files that libsndfile cannot (AAC, AMR, WMA, WebM, G.722 ...), by FFmpeg's libraries through PyAV.

The container is recognised here and named to FFmpeg, which otherwise guesses among hundreds of formats, among them
playlists that open other files. Bytes read, packets and samples have limits, so no file keeps it busy without end.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from earwitness.arrays import F64, Pcm
from earwitness.errors import InputError
from earwitness.extras import MissingExtra
from earwitness.files import MIB

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame

MOST_PACKETS = 2_000_000
"""11 hours of packets of 20 ms."""
_LEAST_JUMP_S = 0.02
_CONTAINERS = (
    (4, b"ftyp", "mov"),
    (0, b"\x1a\x45\xdf\xa3", "matroska"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"),
    (0, b"#!AMR", "amr"),
    (0, b"OggS", "ogg"),
    (0, b"caff", "caf"),
)
"""Where a file has which bytes, and FFmpeg's name of that container."""
_SHARED = frozenset({"ogg", "caf"})
"""Containers that libsndfile reads, too, but not with every codec in them."""
_WAV_OF_LIBSNDFILE = frozenset({0x0001, 0x0002, 0x0003, 0x0006, 0x0007, 0x0011, 0x0031, 0x0038, 0x0040, 0x0055, 0xFFFE})
"""Format tags of a WAV file that libsndfile reads. Where it refuses one of them the file is damaged, and a more lenient
reader would make sound of it."""
_RAW = {
    ".g722": ("g722", 16000, "G.722"),
    ".gsm": ("gsm", 8000, "GSM 06.10"),
    ".g729": ("g729", 8000, "G.729"),
    ".ul": ("mulaw", 8000, "mu-law"),
    ".ulaw": ("mulaw", 8000, "mu-law"),
    ".al": ("alaw", 8000, "A-law"),
    ".alaw": ("alaw", 8000, "A-law"),
    ".sln": ("s16le", 8000, "16-bit samples"),
    ".sln16": ("s16le", 16000, "16-bit samples"),
}
"""Files without a header (Asterisk's): only their names tell what they are."""
_PCM = ("mulaw", "alaw", "s16le")
_SCALES = {"u8": 256.0, "s16": 1.0, "s32": 2.0**-16, "s64": 2.0**-48, "flt": 32768.0, "dbl": 32768.0}
_REMEDY = "convert it to WAV (ffmpeg -i IN OUT.wav)"


@dataclass(frozen=True)
class Container:
    """What FFmpeg is told of a file."""

    format: str
    sample_rate: int = 0
    """Of a file without a header, Hz; 0: the file has it."""
    codec: str = ""
    """Of a file without a header, for people."""

    @property
    def shared(self) -> bool:
        """Whether libsndfile may read it, too."""
        return self.format in _SHARED


@dataclass(eq=False)
class FfmpegSound:
    """An opened file: `blocks` gives its sound, and fills `notes` on the way."""

    sample_rate: int
    channels: int
    blocks: Iterator[Pcm | F64]
    """(n, channels) in 16-bit units."""
    notes: list[str] = field(default_factory=list)


def container_of(content: bytes, name: str) -> Container | None:
    """The container of a file that FFmpeg is to read, by its first bytes, or by its name if it has no header."""
    found = next((kind for at, magic, kind in _CONTAINERS if content[at : at + len(magic)] == magic), None)
    if found is not None:
        return Container(found)
    if content[:4] == b"RIFF":
        return Container("wav") if _is_bare_wav(content) else None
    if content[:4] not in (b"FORM", b".snd", b"fLaC") and (raw := _RAW.get(PurePath(name).suffix.lower())):
        return Container(*raw)
    if len(content) > 1 and content[0] == 0xFF and content[1] & 0xF6 == 0xF0:
        return Container("aac")  # ADTS: twelve set bits, then layer 0
    return None


def _is_bare_wav(content: bytes) -> bool:
    """Whether it is a WAV file of nothing but a format, unknown to libsndfile, and data. FFmpeg gives every other chunk
    as much memory as its header claims, up to 2 GB."""
    size = int.from_bytes(content[16:20], "little")
    data = 20 + size + (size & 1)
    if content[8:16] != b"WAVEfmt " or content[data : data + 4] != b"data":
        return False
    return int.from_bytes(content[20:22], "little") not in _WAV_OF_LIBSNDFILE


def open_with_ffmpeg(content: bytes, name: str, container: Container) -> FfmpegSound:
    """Open a sound file. Raises `InputError`, also from `blocks`; `MissingExtra` without PyAV."""
    try:
        import av
    except ModuleNotFoundError as error:
        raise MissingExtra("reading the sound file", name, ("codecs",), ("av",)) from error
    options = {"sample_rate": str(container.sample_rate)} if container.format in _PCM else {}
    try:
        opened = av.open(_Content(content, name), format=container.format, options=options, metadata_errors="replace")
        if not opened.streams.audio:
            raise _refused(name, "it has no sound")
        stream = opened.streams.audio[0]
        if stream.codec_context is None:
            raise _refused(name, "FFmpeg has no decoder for its sound")
        stream.codec_context.thread_count = 1
        rate, channels = int(stream.codec_context.sample_rate), int(stream.codec_context.channels)
    except InputError:
        raise
    except Exception as error:  # a damaged file may make a foreign library raise anything
        raise _refused(name, f"FFmpeg cannot read it: {_text(error)}") from error
    sound = FfmpegSound(rate, channels, iter(()))
    if container.codec:
        sound.notes.append(f"read as {container.codec} at {container.sample_rate} Hz, which only its name tells")
    if len(opened.streams.audio) > 1:
        sound.notes.append(f"the first of {len(opened.streams.audio)} sounds in it")
    blocks = _blocks(opened, sound, name)
    # Its first frame knows the rate and channels better than its header: AAC may have twice of both.
    sound.blocks = chain(list(islice(blocks, 1)), blocks)
    return sound


def _blocks(opened: Any, sound: FfmpegSound, name: str) -> Iterator[Pcm | F64]:
    """The sound, frame by frame. A packet that cannot be decoded is forgiven only at the end."""
    stream = opened.streams.audio[0]
    broken, heard, jumps, expected = "", False, 0.0, None
    with opened:
        packets = opened.demux(stream)
        for count in range(MOST_PACKETS + 1):
            try:
                frames: list[AudioFrame] = next(packets).decode()
            except StopIteration:
                break
            except InputError:
                raise
            except Exception as error:  # as above
                broken = broken or f"packet {count + 1} cannot be decoded: {_text(error)}"
                continue
            if frames and broken:
                raise _refused(name, broken)
            for frame in frames:
                if not heard:
                    sound.sample_rate, sound.channels = frame.sample_rate, frame.layout.nb_channels
                if frame.sample_rate != sound.sample_rate or frame.layout.nb_channels != sound.channels:
                    raise _refused(name, "its sample rate or its channels change within it")
                if frame.time is not None and expected is not None and abs(frame.time - expected) > _LEAST_JUMP_S:
                    jumps += abs(frame.time - expected)
                expected = None if frame.time is None else frame.time + frame.samples / frame.sample_rate
                heard = True
                yield _samples(frame, name)
        else:
            raise _refused(name, f"it has more than {MOST_PACKETS} packets")
    if broken and not heard:
        raise _refused(name, broken)
    if broken:
        sound.notes.append(f"its end is missing: {broken}")
    if jumps:
        sound.notes.append(f"its timestamps jump by {jumps:.2f} s in all, and the sound does not")


def _samples(frame: AudioFrame, name: str) -> Pcm | F64:
    """A frame as (n, channels) in 16-bit units, unchanged if it has 16 bits."""
    kind = frame.format.name.removesuffix("p")
    if kind not in _SCALES:
        raise _refused(name, f"its samples are of the kind {kind}")
    values: NDArray[Any] = frame.to_ndarray()
    values = values.T if frame.format.is_planar else values.reshape(-1, frame.layout.nb_channels)
    if values.dtype == np.int16:
        return values
    return np.asarray((values.astype(np.float64) - (128.0 if kind == "u8" else 0.0)) * _SCALES[kind])


def _refused(name: str, happened: str) -> InputError:
    return InputError("reading the sound file", name, happened, _REMEDY)


def _text(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or error)


class _Content(io.BytesIO):
    """A file's bytes, that may be read a limited number of times: some damaged headers lead back and forth."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self._left, self._name = min(200 * len(content) + 64 * MIB, 16384 * MIB), name

    def read(self, size: int | None = -1, /) -> bytes:
        found = super().read(size)
        self._left -= len(found) + 1
        if self._left < 0:
            raise _refused(self._name, "its parts refer to each other without end")
        return found
