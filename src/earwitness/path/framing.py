"""Datagrams over a byte stream: each is preceded by its length in 16 bits (RFC 4571 section 2)."""

from __future__ import annotations

LONGEST = 0xFFFF
"""Largest datagram that a frame can carry, in bytes."""


def frame(datagram: bytes) -> bytes:
    """The datagram as a frame. Raises `ValueError` when it is longer than `LONGEST`."""
    if len(datagram) > LONGEST:
        raise ValueError(f"a frame of RFC 4571 carries at most {LONGEST} bytes, not {len(datagram)}")
    return len(datagram).to_bytes(2, "big") + datagram


class Deframer:
    """Takes the stream in pieces of any size and returns the datagrams, in order, as they become complete."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, piece: bytes) -> list[bytes]:
        """The datagrams that this piece completes: none, one or several. An empty frame is an empty datagram."""
        rest = self._rest
        rest += piece
        datagrams: list[bytes] = []
        begin = 0
        while len(rest) - begin >= 2:
            end = begin + 2 + (rest[begin] << 8 | rest[begin + 1])
            if end > len(rest):
                break
            datagrams.append(bytes(rest[begin + 2 : end]))
            begin = end
        del rest[:begin]
        return datagrams

    @property
    def waiting(self) -> int:
        """Bytes buffered of an incomplete frame."""
        return len(self._rest)
