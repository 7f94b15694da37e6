"""Tunnels over UDP that are told by the form of their packets and named: what is in them is encrypted, or not read."""

from __future__ import annotations

import numpy as np

from earwitness.arrays import U8, Bool
from earwitness.trace.bytewindow import big_endian, window
from earwitness.trace.walk import DatagramRows, Walk

_WIREGUARD = {1: 148, 2: 92, 3: 64}
"""Lengths of handshake messages by type (the WireGuard paper, section 5.4)."""
_WIREGUARD_DATA = 0x04000000
_HOMER = int.from_bytes(b"HEP3", "big")
_OPENVPN_PORT = 1194
_OPENVPN_OPCODES = (*range(1, 12),)
_OFTEN = 4


def name_unread(walk: Walk, part: DatagramRows, first: U8) -> None:
    """Count the datagrams (n,), whose first bytes are `first`, that belong to tunnels not read."""
    wire = part.cursor.wire
    likely = (part.cursor.captured >= 8) & (((first >= 1) & (first <= 4)) | (first == _HOMER >> 24))
    if likely.any():
        word = big_endian(window(walk.data, part.cursor.at, 4), 0, 4)
        found = (word == _WIREGUARD_DATA) & (wire >= 32) & (wire % 16 == 0)
        for kind, length in _WIREGUARD.items():
            found |= (word == kind << 24) & (wire == length)
        _count(walk, "WireGuard (encrypted)", found & likely)
        _count(walk, "HEP (Homer's encapsulation)", likely & (word == _HOMER))
    source, destination = part.ports >> 16, part.ports & 0xFFFF
    openvpn = (source == _OPENVPN_PORT) | (destination == _OPENVPN_PORT)
    if openvpn.any():
        _count(walk, "OpenVPN (encrypted)", openvpn & np.isin(first >> 3, _OPENVPN_OPCODES))


def name_ipsec(walk: Walk, part: DatagramRows) -> None:
    """Count ESP in UDP (RFC 3948) among datagrams on its port: their first four bytes number the tunnel, 0 is IKE.

    Those bytes may look like RTP's, but in RTP they hold the sequence number: the same ones do not come often.
    """
    word = big_endian(window(walk.data, part.cursor.at, 4), 0, 4)
    _, inverse, counts = np.unique(word, return_inverse=True, return_counts=True)
    tunnel = (word >> 30 != 2) | (counts[inverse.reshape(-1)] > _OFTEN)
    _count(walk, "IPsec ESP in UDP (encrypted)", tunnel & (word != 0) & (part.cursor.captured >= 8))


def _count(walk: Walk, name: str, rows: Bool) -> None:
    if rows.any():
        walk.unread[name] += int(rows.sum())
