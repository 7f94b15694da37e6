"""Capture files to `Records`: detects the container and reads the file in pieces.

Files are never memory-mapped: if one were truncated while being read, the process would be killed. Only one piece is in
memory, so a capture of gigabytes costs no more memory than what is kept of it (`gather`).
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import replace
from io import BufferedReader
from pathlib import Path

import numpy as np

from earwitness.arrays import U8
from earwitness.errors import InputError
from earwitness.files import MIB, FileTooLarge, NotAFile, open_regular
from earwitness.trace.pcap import HEADER_BYTES, PCAP_MAGIC, PcapReader
from earwitness.trace.pcapng import PCAPNG_MAGIC, PcapngReader
from earwitness.trace.records import Records
from earwitness.trace.tally import Tally

PIECE_BYTES = 16 * MIB
"""Bytes read at a time; a smaller file is a single piece."""
MOST_BYTES = 16 * 1024 * MIB
"""Largest file read: more would take minutes, and a sparse file costs its author nothing."""

_OTHER_FORMATS = {
    b"\x1f\x8b": "gzip-compressed; decompress it first (gunzip)",
    b"\x28\xb5\x2f\xfd": "zstd-compressed; decompress it first (unzstd)",
    b"\xfd7zXZ\x00": "xz-compressed; decompress it first (unxz)",
    b"BZh": "bzip2-compressed; decompress it first (bunzip2)",
    b"\x04\x22\x4d\x18": "lz4-compressed; decompress it first (unlz4)",
    b"\xa1\xb2\xcd\x34": "a modified pcap; convert it (editcap -F pcap)",
    b"\x34\xcd\xb2\xa1": "a modified pcap; convert it (editcap -F pcap)",
    b"snoop": "a snoop capture; convert it (editcap -F pcap)",
}


def read_pieces(path: str | Path, tally: Tally, *, resume: bool = False) -> Iterator[Records]:
    """The packets of a pcap or pcapng file, piece by piece; damage goes into `tally`. `resume`: see `parse_records`.

    Raises `InputError` if the file cannot be opened, is not a capture, or is larger than `MOST_BYTES`.
    """
    try:
        with open_regular(path, most_bytes=MOST_BYTES) as file:
            assert isinstance(file, BufferedReader)
            yield from _pieces(file, str(path), tally, resume)
    except OSError as error:
        remedy = "give a readable pcap or pcapng file"
        if isinstance(error, FileTooLarge):
            remedy = "keep only the calls (tshark -r FILE -Y 'rtp or rtcp or sip' -w CALLS) or split it (editcap -c)"
        elif isinstance(error, NotAFile) and stat.S_ISFIFO(error.kind):
            remedy = "save its contents to a file first"
        raise InputError("reading the capture", path, error.strerror or error, remedy) from error


def is_capture(path: str | Path) -> bool:
    """Whether a file begins like a capture, also a compressed one. Never raises."""
    try:
        with open_regular(path, most_bytes=MOST_BYTES) as file:
            head = file.read(HEADER_BYTES)
    except OSError:
        return False
    return head[:4] == PCAPNG_MAGIC or head[:4] in PCAP_MAGIC or head.startswith(tuple(_OTHER_FORMATS))


def parse_records(data: U8, name: str = "capture", *, resume: bool = False) -> Records:
    """The packets of a pcap or pcapng file given as bytes, (n,) uint8. Raises `InputError` if it is neither.

    Reading stops at an impossible length, as in every other tool. With `resume`, a pcap is read on from the next place
    where three consecutive records look valid. The packets in between are missing and will count as lost.
    """
    tally = Tally()
    (records,) = read_whole(data, name, tally, resume=resume)
    return replace(records, problems=tally.problems())


def read_whole(data: U8, name: str, tally: Tally, *, resume: bool = False) -> Iterator[Records]:
    """As `read_pieces`, for a file given as bytes, in one piece."""
    records, _ = _reader(data[:HEADER_BYTES].tobytes(), name, tally, resume).take(data, 0, last=True)
    yield records


def _pieces(file: BufferedReader, name: str, tally: Tally, resume: bool) -> Iterator[Records]:
    offset, size = 0, PIECE_BYTES
    content, last = _more(np.zeros(0, dtype=np.uint8), file, size)
    reader = _reader(content[:HEADER_BYTES].tobytes(), name, tally, resume)
    while True:
        records, used = reader.take(content, offset, last=last)
        if used or last or reader.ended:
            yield records if not offset and last else replace(records, complete=False)
        del records
        if last or reader.ended:
            return
        # If a record or block did not fit into the piece, the next piece starts with it and is twice as long.
        size = PIECE_BYTES if used else 2 * size
        offset += used
        content, last = _more(content[used:], file, size)


def _more(rest: U8, file: BufferedReader, size: int) -> tuple[U8, bool]:
    """The rest of a piece plus up to `size` more bytes, and whether the file ends there."""
    content = np.empty(len(rest) + size, dtype=np.uint8)
    content[: len(rest)] = rest
    read = file.readinto(content[len(rest) :].data)
    return content[: len(rest) + read], read < size or not file.peek(1)


def _reader(head: bytes, name: str, tally: Tally, resume: bool) -> PcapReader | PcapngReader:
    if head[:4] == PCAPNG_MAGIC:
        return PcapngReader(tally)
    if head[:4] in PCAP_MAGIC:
        if len(head) < HEADER_BYTES:
            raise InputError(
                "reading the capture", name, f"ends within its header ({len(head)} bytes)", "capture again"
            )
        return PcapReader(head, tally, resume=resume)
    for magic, advice in _OTHER_FORMATS.items():
        if head.startswith(magic):
            raise InputError("reading the capture", name, f"is {advice}", "give a pcap or pcapng file")
    happened = "is empty" if not head else f"is not a capture (begins {head[:4].hex(' ')})"
    raise InputError("reading the capture", name, happened, "give a pcap or pcapng file")
