"""Encrypted tunnels over UDP, told by the form of their packets and named: nothing in them can be read."""

from __future__ import annotations

import numpy as np

from earwitness.arrays import U8, Bool
from earwitness.trace.bytewindow import big_endian, window
from earwitness.trace.walk import DatagramRows, Walk

_WIREGUARD = {1: 148, 2: 92, 3: 64}
"""Lengths of handshake messages by type (the WireGuard paper, section 5.4)."""
_OPENVPN_PORT, _IPSEC_PORT = 1194, 4500
_OPENVPN_OPCODES = (*range(1, 12),)


def name_encrypted(walk: Walk, part: DatagramRows, first: U8) -> None:
    """Count the datagrams (n,), whose first bytes are `first`, that belong to an encrypted tunnel."""
    wire = part.cursor.wire
    little = (first >= 1) & (first <= 4) & (part.cursor.captured >= 8)
    if little.any():
        word = big_endian(window(walk.data, part.cursor.at, 4), 0, 4)
        found = (word == 0x04000000) & (wire >= 32) & (wire % 16 == 0)
        for kind, length in _WIREGUARD.items():
            found |= (word == kind << 24) & (wire == length)
        _count(walk, "WireGuard (encrypted)", found & little)
    source, destination = part.ports >> 16, part.ports & 0xFFFF
    openvpn = (source == _OPENVPN_PORT) | (destination == _OPENVPN_PORT)
    if openvpn.any():
        _count(walk, "OpenVPN (encrypted)", openvpn & np.isin(first >> 3, _OPENVPN_OPCODES))
    ipsec = (source == _IPSEC_PORT) | (destination == _IPSEC_PORT)
    if ipsec.any():
        rows = np.flatnonzero(ipsec & (part.cursor.captured >= 8))
        word = big_endian(window(walk.data, part.cursor.at[rows], 4), 0, 4)
        # RFC 3948: four zero bytes mean key exchange; RTP (version 2) is left to be found as such.
        _count(walk, "IPsec ESP in UDP (encrypted)", (word != 0) & (word >> 30 != 2))


def _count(walk: Walk, name: str, rows: Bool) -> None:
    if rows.any():
        walk.unread[name] += int(rows.sum())
