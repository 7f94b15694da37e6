"""Writes classic pcap files with nanosecond timestamps, such that the file of a killed capture is readable."""

from __future__ import annotations

import struct
from pathlib import Path
from types import TracebackType

MAGIC_NANOSECONDS = 0xA1B23C4D
LINKTYPE_ETHERNET = 1
LINKTYPE_RAW = 101
"""The packet starts with its IP header (TUN devices)."""


class PcapWriter:
    """Writes each packet with a single unbuffered write, so that no record is ever incomplete.

    Packets that would make the file larger than `most_bytes` are only counted (`left_out`).

    Raises OSError if the file cannot be written (disk full, permission).
    """

    def __init__(self, path: Path, link_type: int, snap_length: int, most_bytes: int = 1 << 40) -> None:
        self.path = path
        self.packets = 0
        self.left_out = 0
        self._room = most_bytes
        self._snap_length = snap_length
        self._file = path.open("wb", buffering=0)
        self._write(struct.pack("<IHHiIII", MAGIC_NANOSECONDS, 2, 4, 0, 0, snap_length, link_type))

    def packet(self, time_ns: int, data: bytes, length: int | None = None) -> None:
        """Append one packet: ns since the epoch, its bytes as captured, and its length on the wire."""
        kept = data[: self._snap_length]
        wire = len(data) if length is None else length
        if self._room < len(kept):
            self.left_out += 1
            return
        self._write(struct.pack("<IIII", time_ns // 10**9, time_ns % 10**9, len(kept), wire) + kept)
        self.packets += 1

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> PcapWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, record: bytes) -> None:
        self._room -= len(record)
        written = self._file.write(record)
        if written != len(record):  # a raw write may be partial when the disk is nearly full
            self._file.truncate(self._file.tell() - (written or 0))
            raise OSError(28, "no space left on device", str(self.path))
