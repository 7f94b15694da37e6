"""The emulator's ground-truth log: one binary record per packet, in segments of limited size.

The emulator writes it without pausing for allocation; `earwitness.emulator.truth` reads it. A record is written when a
packet's fate is known, so records are in order of fates, not of arrivals. When the log is full, the oldest segments are
deleted, so that a lab running for days does not fill memory (the state directory is a tmpfs).
"""

from __future__ import annotations

import os
import struct
from enum import IntEnum
from pathlib import Path

RECORD = struct.Struct("<qqqHHHBB20s4x")
"""in_ns, due_ns, out_ns, source, destination, length, protocol, fate, first 20 bytes above IP; 56 bytes."""
NO_HOST = 0xFFFF

BUFFERED_RECORDS = 1024
SEGMENT_BYTES = RECORD.size * 600_000
SEGMENTS_KEPT = 8


class PacketFate(IntEnum):
    """What happened to a packet."""

    DELIVERED = 1
    DUPLICATE = 2
    """A second copy, delivered."""
    LOST_RANDOM = 3
    LOST_DECLARED = 4
    """Lost by a loss pattern or by an `x` in a recorded trace."""
    QUEUE_FULL = 5
    NO_ROUTE = 6
    """No host has the destination address, or there is no link to it."""
    DEAD_HOST = 7
    """The destination's device was gone when the packet was due."""


class TruthLog:
    """Appends records to `truth-NNNNNN.bin` in a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._buffer = bytearray(RECORD.size * BUFFERED_RECORDS)
        self._filled = 0
        self._segments: list[Path] = []
        self._file = -1
        self._written = 0
        self._next_segment()

    def append(
        self,
        in_ns: int,
        due_ns: int,
        out_ns: int,
        source: int,
        destination: int,
        packet: bytes,
        fate: int,
    ) -> None:
        """Append one packet. `packet` is the complete IPv4 packet."""
        header = (packet[0] & 15) * 4
        RECORD.pack_into(
            self._buffer,
            self._filled,
            in_ns,
            due_ns,
            out_ns,
            source,
            destination,
            len(packet),
            packet[9],
            fate,
            packet[header : header + 20],
        )
        self._filled += RECORD.size
        if self._filled == len(self._buffer):
            self.flush()

    @property
    def dirty(self) -> bool:
        """Whether records are waiting to be written."""
        return self._filled > 0

    def flush(self) -> None:
        """Write the waiting records; start a new segment if this one is full."""
        if self._filled:
            self._written += os.write(self._file, memoryview(self._buffer)[: self._filled])
            self._filled = 0
        if self._written >= SEGMENT_BYTES:
            self._next_segment()

    def _next_segment(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        number = int(self._segments[-1].stem[-6:]) + 1 if self._segments else 0
        path = self._directory / f"truth-{number:06}.bin"
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._written = 0
        self._segments.append(path)
        if len(self._segments) > SEGMENTS_KEPT:
            self._segments.pop(0).unlink(missing_ok=True)
