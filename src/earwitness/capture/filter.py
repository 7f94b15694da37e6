"""Classic BPF programs that select the packets of a capture in the kernel."""

from __future__ import annotations

import ctypes
import socket
from collections.abc import Sequence

SO_ATTACH_FILTER = 26
_LOAD_HALF = 0x28  # BPF_LD | BPF_H | BPF_ABS
_LOAD_BYTE = 0x30  # BPF_LD | BPF_B | BPF_ABS
_LOAD_HALF_INDEXED = 0x48  # BPF_LD | BPF_H | BPF_IND
_INDEX_IP_HEADER = 0xB1  # BPF_LDX | BPF_B | BPF_MSH: 4 * (low nibble), the length of an IPv4 header
_JUMP_EQUAL = 0x15
_JUMP_SET = 0x45
_RETURN = 0x06
_KEEP = 0x40000

Instruction = tuple[int, int, int, int]
"""(code, jump if true, jump if false, operand), as struct sock_filter."""


def udp_filter(network_header: int, ports: Sequence[int] = ()) -> list[Instruction]:
    """IPv4 UDP with a source or destination port in `ports` (any if empty), and all IPv4 ICMP.

    `network_header` is the offset of the IP header: 0 on TUN devices, 14 on Ethernet. ICMP is kept because it shows why
    a call has no media (port unreachable). Later fragments carry no ports and are kept.
    """
    protocol_at, fragment_at = network_header + 9, network_header + 6
    program: list[Instruction] = [(_LOAD_BYTE, 0, 0, network_header)]
    # The version is the high nibble of the first byte: 4 means bit 0x40 set and 0xB0 clear.
    program += [(_JUMP_SET, -2, 0, 0xB0), (_JUMP_SET, 0, -2, 0x40)]
    program += [(_LOAD_BYTE, 0, 0, protocol_at), (_JUMP_EQUAL, -1, 0, socket.IPPROTO_ICMP)]
    program += [(_JUMP_EQUAL, 0, -2, socket.IPPROTO_UDP)]
    if ports:
        program += [(_LOAD_HALF, 0, 0, fragment_at), (_JUMP_SET, -1, 0, 0x1FFF)]
        program += [(_INDEX_IP_HEADER, 0, 0, network_header)]
        for offset in (0, 2):
            program += [(_LOAD_HALF_INDEXED, 0, 0, network_header + offset)]
            program += [(_JUMP_EQUAL, -1, 0, port) for port in ports]
        program += [(_RETURN, 0, 0, 0)]
    program += [(_RETURN, 0, 0, _KEEP), (_RETURN, 0, 0, 0)]
    keep, drop = len(program) - 2, len(program) - 1
    if keep > 255:
        raise ValueError(f"a capture filter of {len(ports)} ports is too long for classic BPF")

    def resolve(jump: int, at: int) -> int:
        return {-1: keep - at - 1, -2: drop - at - 1}.get(jump, jump)

    return [(code, resolve(yes, at), resolve(no, at), operand) for at, (code, yes, no, operand) in enumerate(program)]


class _SockFilter(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32))


class _SockFprog(ctypes.Structure):
    _fields_ = (("len", ctypes.c_uint16), ("filter", ctypes.POINTER(_SockFilter)))


def attach(sock: socket.socket, program: Sequence[Instruction]) -> None:
    """Attach a classic BPF program to a socket (SO_ATTACH_FILTER)."""
    instructions = (_SockFilter * len(program))(*[_SockFilter(*instruction) for instruction in program])
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, bytes(_SockFprog(len(program), instructions)))
