"""Capture containers: pcap (draft-ietf-opsawg-pcap) to records; pcapng is in `pcapng`.

One pass finds where each packet lies; the headers are then read all at once. A length that cannot be ends the
reading with a `CaptureProblem`; nothing here allocates more than the file's own size plus a few words a packet.
"""

from __future__ import annotations

import mmap
import struct
from array import array
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earwitness.errors import InputError
from earwitness.trace import pcapng
from earwitness.trace.bytewindow import window
from earwitness.trace.model import I32, I64, U8
from earwitness.trace.problem import CaptureProblem, ProblemKind
from earwitness.trace.records import MAX_PACKET, Records

MAPPED_FROM = 64 * 2**20
"""Files from this size on are mapped instead of read, so that memory does not grow with them."""

_MAGIC = {
    b"\xa1\xb2\xc3\xd4": (">", 1000),
    b"\xd4\xc3\xb2\xa1": ("<", 1000),
    b"\xa1\xb2\x3c\x4d": (">", 1),
    b"\x4d\x3c\xb2\xa1": ("<", 1),
}
_SEARCH_BYTES = 2**12
_NEAR_S = 60
_LOOK_AHEAD = 8
_CHAINED_UP_TO = 16 * 2**20
_PCAPNG_MAGIC = b"\x0a\x0d\x0d\x0a"
_OTHER_FORMATS = {
    b"\x1f\x8b": "gzip-compressed; decompress it first (gunzip)",
    b"\x28\xb5\x2f\xfd": "zstd-compressed; decompress it first (unzstd)",
    b"\xa1\xb2\xcd\x34": "a modified pcap; convert it (editcap -F pcap)",
    b"\x34\xcd\xb2\xa1": "a modified pcap; convert it (editcap -F pcap)",
    b"snoop": "a snoop capture; convert it (editcap -F pcap)",
}


def read_records(path: str | Path, *, resume: bool = False) -> Records:
    """The packets of a pcap or pcapng file; `resume` as in `parse_records`.

    Raises `InputError` where the file cannot be opened or is no capture; damage further in becomes problems.
    """
    file = Path(path)
    try:
        with file.open("rb") as handle:
            size = handle.seek(0, 2)
            handle.seek(0)
            if size >= MAPPED_FROM:
                data = np.frombuffer(mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ), dtype=np.uint8)
            else:
                data = np.frombuffer(handle.read(), dtype=np.uint8)
    except (OSError, ValueError) as error:
        happened = getattr(error, "strerror", None) or error
        raise InputError("reading the capture", file, happened, "give a readable pcap or pcapng file") from error
    return parse_records(data, str(file), resume=resume)


def parse_records(data: U8, name: str = "capture", *, resume: bool = False) -> Records:
    """The packets of a pcap or pcapng file given as its bytes, (n,) uint8. Raises `InputError` if it is neither.

    At a length that cannot be, reading stops, as in every other tool; with `resume` it goes on, in a pcap, at the next
    place where three records in a row look sound. What lay between is missing from the file and will count as lost.
    """
    head = data[:24].tobytes()
    if head[:4] == _PCAPNG_MAGIC:
        return pcapng.parse_pcapng(data, name)
    if head[:4] in _MAGIC:
        if len(head) < 24:
            raise InputError(
                "reading the capture", name, f"ends within its header ({len(head)} bytes)", "capture again"
            )
        order, unit_ns = _MAGIC[head[:4]]
        return _parse_pcap(data, order, unit_ns, resume)
    for magic, advice in _OTHER_FORMATS.items():
        if head.startswith(magic):
            raise InputError("reading the capture", name, f"is {advice}", "give a pcap or pcapng file")
    happened = "is empty" if not head else f"is not a capture (begins {head[:4].hex(' ')})"
    raise InputError("reading the capture", name, happened, "give a pcap or pcapng file")


def _parse_pcap(data: U8, order: str, unit_ns: int, resume: bool) -> Records:
    _, _, _, _, snap_length, link_field = struct.unpack(order + "HHiIII", data[4:24].tobytes())
    limit = max(snap_length, MAX_PACKET) if snap_length < 2**24 else MAX_PACKET
    problems: list[CaptureProblem] = []
    chained = _chained(data, order, limit)
    if chained is not None:
        offsets = chained
    else:
        offsets, problems = _walk(data, order, limit, unit_ns if resume else None)
    fields = [(key, order + "u4") for key in ("seconds", "fraction", "captured", "length")]
    header: NDArray[Any] = window(data, offsets, 16).view(np.dtype(fields))[:, 0]
    seconds, fraction = header["seconds"].astype(np.int64), header["fraction"].astype(np.int64)
    if not len(offsets) and not problems:
        problems.append(CaptureProblem(ProblemKind.EMPTY, "a header and no packet", 24))
    odd = fraction * unit_ns >= 1_000_000_000
    if odd.any():
        detail = f"{int(odd.sum())} packets with a fraction of a second that is a second or more; left out"
        problems.append(CaptureProblem(ProblemKind.BAD_TIME, detail, int(offsets[odd][0])))
        offsets, header, seconds, fraction = offsets[~odd], header[~odd], seconds[~odd], fraction[~odd]
    captured: I32 = header["captured"].astype(np.int32)
    length: I64 = header["length"].astype(np.int64)
    lying = length < captured
    if lying.any():
        detail = f"{int(lying.sum())} packets said to be shorter than what was kept of them; the kept length is used"
        problems.append(CaptureProblem(ProblemKind.BAD_LENGTH, detail, int(offsets[lying][0])))
        length = np.maximum(length, captured)
    return Records(
        data=data,
        start=offsets + 16,
        captured=captured,
        length=length,
        time_ns=seconds * 1_000_000_000 + fraction * unit_ns,
        interface=np.zeros(len(offsets), dtype=np.int32),
        link_types=(link_field & 0x03FF_FFFF,),
        resolution_ns=float(unit_ns),
        format="pcap",
        problems=tuple(problems),
    )


def _chained(data: U8, order: str, limit: int) -> I64 | None:
    """Where each record of a sound file begins, without a step a record; None where only a walk can tell.

    Records are guessed from the upper half of the first one's seconds, which stands at the same place in each for 18
    hours, and then proven: each must end exactly where the next begins, the first at 24 and the last at the end.
    """
    if not 40 <= len(data) <= _CHAINED_UP_TO:
        return None
    high = 2 if order == "<" else 0
    end = len(data) - 16 + high
    alike = (data[24 + high : end + 1] == data[24 + high]) & (data[25 + high : end + 2] == data[25 + high])
    offsets = np.flatnonzero(alike) + 24
    words = window(data, offsets, 16).view(order + "u4")
    likely = (words[:, 1] < 1_000_000_000) & (words[:, 2] <= limit)
    if not likely.all():
        offsets, words = offsets[likely], words[likely]
    following = offsets + 16 + words[:, 2]
    if not len(offsets) or offsets[0] != 24 or following[-1] != len(data):
        return None
    return offsets if bool((following[:-1] == offsets[1:]).all()) else None


def _walk(data: U8, order: str, limit: int, resume_unit_ns: int | None) -> tuple[I64, list[CaptureProblem]]:
    """Where each record begins, up to the first length that cannot be, or past it where `resume_unit_ns` is given."""
    captured_of = struct.Struct(order + "I").unpack_from
    view, end, position = data.data, len(data), 24
    offsets = array("q")
    problems: list[CaptureProblem] = []
    previous, alike, ahead = -1, 0, _LOOK_AHEAD
    while position + 16 <= end:
        (captured,) = captured_of(view, position + 8)
        following = position + 16 + captured
        if captured <= limit and following <= end:
            alike = alike + 1 if captured == previous else 0
            previous = captured
            if alike < _LOOK_AHEAD:
                offsets.append(position)
                position = following
                continue
            # Voice is many packets of one length: look at a row of them at once.
            stride = 16 + captured
            count = min(ahead, (end - position) // stride)
            row: NDArray[Any] = np.ndarray((count,), order + "u4", data, offset=position + 8, strides=(stride,))
            other = np.flatnonzero(row != captured)
            held = int(other[0]) if len(other) else count
            offsets.extend(range(position, position + held * stride, stride))
            position += held * stride
            alike, ahead = (0, _LOOK_AHEAD) if len(other) else (alike, min(2 * ahead, 4096))
            continue
        if captured <= limit:
            detail = f"the file ends within packet {len(offsets) + 1}"
            problems.append(CaptureProblem(ProblemKind.TRUNCATED, detail, position))
            break
        claim = f"packet {len(offsets) + 1} claims {captured} bytes"
        again = None if resume_unit_ns is None else _next_record(data, order, position + 1, offsets, resume_unit_ns)
        if again is None:
            detail = f"{claim}; nothing after it can be trusted"
            problems.append(CaptureProblem(ProblemKind.CORRUPT, detail, position))
            break
        detail = f"{claim}; {again - position} bytes skipped, and packets are missing here"
        problems.append(CaptureProblem(ProblemKind.CORRUPT, detail, position))
        position = again
    else:
        if position != end:
            detail = f"the file ends within the header of packet {len(offsets) + 1}"
            problems.append(CaptureProblem(ProblemKind.TRUNCATED, detail, position))
    return np.frombuffer(offsets, dtype=np.int64) if offsets else np.zeros(0, dtype=np.int64), problems


def _next_record(data: U8, order: str, begin: int, offsets: array[int], unit_ns: int) -> int | None:
    """The next place from `begin` on where three records in a row look sound, of the days around the ones before."""
    header = struct.Struct(order + "IIII").unpack_from
    second = header(data.data, offsets[-1])[0] if offsets else None
    longest = max((header(data.data, offset)[2] for offset in offsets[-1000:]), default=MAX_PACKET)
    stop, size = begin, _SEARCH_BYTES
    while stop + 16 <= len(data):
        piece, stop = stop, min(stop + size, len(data) - 15)
        size = min(2 * size, 256 * _SEARCH_BYTES)
        words: NDArray[Any] = np.ndarray((stop - piece, 4), order + "u4", data, offset=piece, strides=(1, 4))
        seconds, fraction, captured, length = (words[:, column].astype(np.int64) for column in range(4))
        sound = (fraction < 1_000_000_000 // unit_ns) & (captured > 0) & (captured <= longest)
        sound &= (length >= captured) & (length <= MAX_PACKET)
        if second is not None:
            sound &= np.abs(seconds - second) < 86_400
        for candidate in (np.flatnonzero(sound) + piece).tolist():
            at, first = candidate, int(seconds[candidate - piece])
            for _ in range(3):
                if at == len(data):
                    return int(candidate)
                if at + 16 > len(data):
                    break
                when, _, kept, wire = header(data.data, at)
                if not 0 < kept <= min(longest, wire) or wire > MAX_PACKET or abs(when - first) > _NEAR_S:
                    break
                at += 16 + kept
            else:
                return int(candidate)
    return None
