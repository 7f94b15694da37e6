"""Reads recordings from the field: what their headers say, what they contain, and how the study read them."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from earwitness.arrays import Pcm
from earwitness.errors import InputError
from earwitness.files import read_regular
from earwitness.speech.wav import MOST_FILE_BYTES, decode_audio

SHORTEST_S, LONGEST_S = 25.0, 32.0
"""Plausible range for the recording of a 30 s call; otherwise the call was cut off, or the recorder ran on."""

HEADER_BYTES = 44
"""Bytes that the study's PESQ binary skips in every file, whatever the header says (ITU-T P.862 reference code)."""
_MOST_CHUNKS = 10_000


@dataclass(frozen=True)
class Doubt:
    """A doubt about an imported file: a kind to count by, the file, and a description."""

    kind: str
    file: str
    detail: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}".replace("; ", ", ")


@dataclass(frozen=True)
class Recording:
    """Samples (n,) int16 mono at `sample_rate`, and doubts about the file. No samples: nothing to score."""

    samples: Pcm
    sample_rate: int
    doubts: tuple[Doubt, ...]

    @property
    def seconds(self) -> float:
        """Duration, s."""
        return len(self.samples) / self.sample_rate


def read_recording(path: Path, name: str, *, as_published: bool, sample_rate: int = 8000) -> Recording:
    """Read and check a recording; raises only if it cannot be opened, never because of its contents.

    `name` is the file's name in doubts. As published: the bytes after the 44th are int16 samples at `sample_rate`,
    whatever the header says. Otherwise the header is followed; a data length of 0 or past the end means up to the end
    of the file.
    """
    try:
        content = read_regular(path, MOST_FILE_BYTES)
    except OSError as error:
        raise InputError("reading the recording", path, error.strerror or error, "see that it can be read") from error
    doubts: list[Doubt] = []
    if declared_bytes(content) == 0 and len(content) > HEADER_BYTES:
        doubts.append(Doubt("recording header says 0 bytes", name, f"{len(content) - HEADER_BYTES} bytes follow it"))
    if as_published:
        body = content[HEADER_BYTES:]
        samples = np.frombuffer(body[: len(body) // 2 * 2], dtype="<i2").astype(np.int16)
    else:
        samples, sample_rate = np.zeros(0, dtype=np.int16), sample_rate
        if content:
            try:
                samples, sample_rate = decode_audio(content, name)
            except InputError as error:
                doubts.append(Doubt("recording unreadable", name, error.happened))
                return Recording(samples, sample_rate, tuple(doubts))
    seconds = len(samples) / sample_rate
    if not len(samples):
        doubts.append(Doubt("recording empty", name, f"{len(content)} bytes, no audio"))
    elif seconds < SHORTEST_S:
        doubts.append(Doubt("recording short", name, f"{seconds:.1f} s, under {SHORTEST_S:g} s"))
    elif seconds > LONGEST_S:
        doubts.append(Doubt("recording long", name, f"{seconds:.1f} s, over {LONGEST_S:g} s"))
    return Recording(samples, sample_rate, tuple(doubts))


def declared_bytes(content: bytes) -> int | None:
    """The number of audio bytes that a WAV header declares; None if there is no data chunk."""
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        return None
    at = 12
    for _ in range(_MOST_CHUNKS):
        if at + 8 > len(content):
            break
        kind, size = struct.unpack_from("<4sI", content, at)
        if kind == b"data":
            return int(size)
        at += 8 + size + size % 2
    return None
