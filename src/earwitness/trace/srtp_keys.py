"""Master keys of SRTP: as a user gives them, and as SDP has them (RFC 4568)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from earwitness.errors import InputError
from earwitness.trace.link_layer import Flow
from earwitness.trace.sdp import MediaDescription

MOST_KEYS = 32
"""Keys tried per stream; a call has a few."""


@dataclass(frozen=True)
class Suite:
    """A crypto suite: its name in SDP, and in pylibsrtp if it has it; bytes of master key with salt, and of the tag."""

    name: str
    profile: str
    key_bytes: int
    tag_bytes: int
    aead: bool = False


SUITES = {
    suite.name: suite
    for suite in (
        Suite("AES_CM_128_HMAC_SHA1_80", "SRTP_PROFILE_AES128_CM_SHA1_80", 30, 10),
        Suite("AES_CM_128_HMAC_SHA1_32", "SRTP_PROFILE_AES128_CM_SHA1_32", 30, 4),
        Suite("AES_192_CM_HMAC_SHA1_80", "", 38, 10),
        Suite("AES_192_CM_HMAC_SHA1_32", "", 38, 4),
        Suite("AES_256_CM_HMAC_SHA1_80", "", 46, 10),
        Suite("AES_256_CM_HMAC_SHA1_32", "", 46, 4),
        Suite("AEAD_AES_128_GCM", "SRTP_PROFILE_AEAD_AES_128_GCM", 28, 16, aead=True),
        Suite("AEAD_AES_256_GCM", "SRTP_PROFILE_AEAD_AES_256_GCM", 44, 16, aead=True),
    )
}
"""The suites that are decrypted (RFC 4568 6.2, RFC 6188, RFC 7714)."""
_UNREAD = ("F8_128_HMAC_SHA1_80", "SEED_CTR_128_HMAC_SHA1_80", "SEED_128_CCM_80", "SEED_128_GCM_96")
"""Suites that nobody here decrypts (RFC 4568 6.2.3, RFC 5669)."""
_UNSUITED = ("UNENCRYPTED_SRTP", "UNAUTHENTICATED_SRTP")
"""Session parameters with which there is nothing to decrypt, or nothing to check the key by (RFC 4568 6.3)."""


@dataclass(frozen=True)
class SrtpKey:
    """A master key with its salt, its suite, and the length of the MKI in packets. Its bytes are never printed.

    `elsewhere`: the SDP has it for other ports than the stream's.
    """

    suite: str
    key: bytes = field(repr=False)
    mki_bytes: int = 0
    from_sdp: bool = False
    elsewhere: bool = field(default=False, compare=False)

    def wire(self, packet: bytes) -> bytes:
        """A packet as libsrtp takes it: without the MKI, which precedes the tag, or ends the packet with AEAD."""
        if not self.mki_bytes:
            return packet
        suite = SUITES[self.suite]
        tag = 0 if suite.aead else suite.tag_bytes
        return packet[: len(packet) - tag - self.mki_bytes] + packet[len(packet) - tag :]

    @property
    def overhead(self) -> int:
        """Bytes that the suite adds to a packet."""
        return SUITES[self.suite].tag_bytes + self.mki_bytes


def srtp_keys(text: str) -> tuple[SrtpKey, ...]:
    """The keys that a user's text may mean: `KEY`, `SUITE:KEY`, or a whole `a=crypto` line.

    KEY is base64 as in SDP (`inline:...|2^31|1:1`; what follows `|` may be missing) or hexadecimal, of master key and
    salt together. Without a suite, its length names it; 30 bytes are either tag length's. Raises `InputError`.
    """
    suite, words = "", text.replace("a=crypto:", "").split()
    named = [word for word in words if word.upper() in SUITES or word.upper() in _UNREAD]
    if named:
        suite, words = named[0].upper(), words[words.index(named[0]) + 1 :]
    elif words and (head := words[-1].partition(":"))[0].upper() in (*SUITES, *_UNREAD):
        suite, words = head[0].upper(), [head[2]]
    if suite in _UNREAD:
        raise _unfit(f"the suite {suite} is not read")
    if not words:
        raise _unfit("it is empty")
    found: list[SrtpKey] = []
    for parameter in words[0 if named else -1].split(";"):
        key, mki = _parameter(parameter)
        fitting = [one for one in SUITES.values() if one.key_bytes == len(key) and suite in ("", one.name)]
        if not fitting:
            lengths = sorted({one.key_bytes for one in SUITES.values() if suite in ("", one.name)})
            either = " or ".join(map(str, lengths))
            raise _unfit(f"it has {len(key)} bytes, and key and salt of {suite or 'a suite'} have {either}")
        found += [SrtpKey(one.name, key, mki) for one in fitting]
    return tuple(found)


def _parameter(text: str) -> tuple[bytes, int]:
    """One key parameter (RFC 4568 9.2): the key, and the length of its MKI."""
    main, *options = text.removeprefix("inline:").split("|")
    main = main.strip()
    mki = next((option.partition(":")[2] for option in options if ":" in option), "0")
    # Base64 and hexadecimal of the lengths in use do not look alike.
    try:
        if len(main) in {2 * suite.key_bytes for suite in SUITES.values()} and "=" not in main:
            return bytes.fromhex(main), _small(mki)
        return base64.b64decode(main + "=" * (-len(main) % 4), validate=True), _small(mki)
    except (ValueError, binascii.Error):
        raise _unfit("it is neither base64 nor hexadecimal") from None


def _small(text: str) -> int:
    """The length of an MKI, at most 128 bytes (RFC 4568 6.1)."""
    if not text.isascii() or not text.isdigit() or len(text) > 3 or int(text) > 128:
        raise ValueError(text)
    return int(text)


def _unfit(why: str) -> InputError:
    # The key itself is a secret, and stays out of messages.
    remedy = "write it as SUITE:BASE64, as in AES_CM_128_HMAC_SHA1_80:... from a=crypto, or give only its base64 or hex"
    return InputError("reading", "the SRTP key", why, remedy, field="srtp_key")


def sdp_keys(sections: Sequence[MediaDescription], flow: Flow) -> tuple[SrtpKey, ...]:
    """The keys in a capture's SDP that may belong to a flow, the likeliest first; unusable lines are skipped.

    A line keys what its own end sends (RFC 4568 6.1), and that end usually sends from where it receives. Since packets
    are authenticated, the keys of the other end and of the rest of the capture can follow.
    """

    def distance(section: MediaDescription) -> tuple[bool, bool, bool]:
        at_source = section.has_port(flow.source_port)
        near = at_source or section.has_port(flow.destination_port)
        return not at_source, not near, section.address not in (flow.source, flow.destination)

    found: dict[tuple[str, bytes, int], SrtpKey] = {}
    for section in sorted((one for one in sections if one.crypto), key=distance):
        for line in section.crypto:
            if any(word in _UNSUITED for word in line.split()):
                continue
            try:
                keys = srtp_keys(line)
            except InputError:
                continue
            for key in keys:
                known = replace(key, from_sdp=True, elsewhere=distance(section)[1])
                found.setdefault((key.suite, key.key, key.mki_bytes), known)
        if len(found) >= MOST_KEYS:
            break
    return tuple(found.values())[:MOST_KEYS]
