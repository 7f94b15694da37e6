"""SRTP with AES in counter mode and HMAC-SHA1 (RFC 3711, RFC 6188), for the key lengths that pylibsrtp lacks."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from earwitness.trace.rtp import HEADER_BYTES

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.modes import CTR

_SALT_BYTES, _AUTHENTICATION_BYTES = 14, 20
_ENCRYPTION, _AUTHENTICATION, _SALTING = 0, 1, 2
"""Labels of the keys derived (RFC 3711 4.3.2)."""
_HALF = 1 << 15


class CounterMode:
    """Decrypts the packets of one stream, given in order of arrival.

    `key` is master key and salt together; a key derivation rate of 0 is assumed, as SDP's default. `rollovers`: wraps
    of the sequence number before the first packet.
    """

    def __init__(self, key: bytes, tag_bytes: int, rollovers: int = 0) -> None:
        master, salt = key[:-_SALT_BYTES], key[-_SALT_BYTES:]
        self._key = _derived(master, salt, _ENCRYPTION, len(master))
        self._salt = int.from_bytes(_derived(master, salt, _SALTING, _SALT_BYTES))
        self._authentication = _derived(master, salt, _AUTHENTICATION, _AUTHENTICATION_BYTES)
        self._tag_bytes, self._rollovers = tag_bytes, rollovers
        self._highest: int | None = None

    def unprotect(self, packet: bytes) -> bytes:
        """The decrypted packet, or nothing if it does not authenticate."""
        at = _header_bytes(packet)
        body, tag = packet[: -self._tag_bytes], packet[-self._tag_bytes :]
        if len(body) < at:
            return b""
        index = self._index(int.from_bytes(packet[2:4]))
        rollovers = (index >> 16).to_bytes(4) if 0 <= index < 1 << 48 else b""
        mac = hmac.digest(self._authentication, body + rollovers, "sha1")[: self._tag_bytes]
        if not rollovers or not hmac.compare_digest(mac, tag):
            return b""
        self._highest = max(index, self._highest or 0)
        ssrc = int.from_bytes(packet[8:12])
        vector = (self._salt << 16) ^ (ssrc << 64) ^ (index << 16)
        return body[:at] + _cipher(self._key, vector).encryptor().update(body[at:])

    def _index(self, sequence: int) -> int:
        """The packet's index: its sequence number with the wraps that bring it nearest (RFC 3711 3.3.1)."""
        if self._highest is None:
            return (self._rollovers << 16) + sequence
        return self._highest + ((sequence - self._highest + _HALF) & 0xFFFF) - _HALF


def _header_bytes(packet: bytes) -> int:
    """Bytes before the encrypted part: the fixed header, CSRCs and the header extension."""
    at = HEADER_BYTES + 4 * (packet[0] & 0x0F)
    return at + 4 + 4 * int.from_bytes(packet[at + 2 : at + 4]) if packet[0] & 0x10 else at


def _derived(master: bytes, salt: bytes, label: int, size: int) -> bytes:
    """A session key (RFC 3711 4.3.1, 4.3.3)."""
    vector = (int.from_bytes(salt) ^ (label << 48)) << 16
    return _cipher(master, vector).encryptor().update(bytes(size))


def _cipher(key: bytes, vector: int) -> Cipher[CTR]:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    return Cipher(algorithms.AES(key), modes.CTR(vector.to_bytes(16)))
