from __future__ import annotations

import socket
import struct

import pytest

from earwitness.capture.filter import Instruction, udp_filter


def run(program: list[Instruction], packet: bytes) -> int:
    """Classic BPF, as far as our programs use it; a load past the end rejects, as in the kernel."""
    accumulator = index = at = 0
    while True:
        code, yes, no, operand = program[at]
        at += 1
        try:
            if code == 0x30:
                accumulator = packet[operand]
            elif code == 0x28:
                accumulator = struct.unpack_from("!H", packet, operand)[0]
            elif code == 0x48:
                accumulator = struct.unpack_from("!H", packet, index + operand)[0]
            elif code == 0xB1:
                index = 4 * (packet[operand] & 15)
            elif code == 0x15:
                at += yes if accumulator == operand else no
            elif code == 0x45:
                at += yes if accumulator & operand else no
            elif code == 0x06:
                return operand
            else:
                raise AssertionError(f"unknown instruction {code:#x}")
        except (IndexError, struct.error):
            return 0


def ipv4(protocol: int, source: int, destination: int, *, options: int = 0, fragment: int = 0) -> bytes:
    header = struct.pack(
        "!BBHHHBBH4s4s", 0x45 + options, 0, 0, 0, fragment, 64, protocol, 0, bytes(4), bytes(4)
    ) + bytes(4 * options)
    return header + struct.pack("!HHHH", source, destination, 8, 0)


@pytest.mark.parametrize("link", [0, 14])
@pytest.mark.parametrize(
    ("packet", "kept"),
    [
        (ipv4(socket.IPPROTO_UDP, 4000, 999), True),
        (ipv4(socket.IPPROTO_UDP, 999, 4000), True),
        (ipv4(socket.IPPROTO_UDP, 999, 4000, options=3), True),
        (ipv4(socket.IPPROTO_UDP, 999, 998), False),
        (ipv4(socket.IPPROTO_UDP, 999, 998, fragment=5), True),
        (ipv4(socket.IPPROTO_TCP, 4000, 4000), False),
        (ipv4(socket.IPPROTO_ICMP, 0, 0), True),
        (b"\x60" + bytes(60), False),
        (b"\x45", False),
        (b"", False),
    ],
)
def test_udp_of_the_ports_and_icmp(link: int, packet: bytes, kept: bool) -> None:
    assert bool(run(udp_filter(link, [4000, 4001]), bytes(link) + packet)) is kept


def test_without_ports_all_udp_is_kept() -> None:
    assert run(udp_filter(0), ipv4(socket.IPPROTO_UDP, 1, 2))
    assert not run(udp_filter(0), ipv4(socket.IPPROTO_TCP, 1, 2))


def test_a_program_that_would_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        udp_filter(0, range(1, 200))
