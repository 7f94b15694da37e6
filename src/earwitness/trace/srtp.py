"""Decrypts SRTP (RFC 3711) by libsrtp, given the master key: from the user, or from the capture's SDP (RFC 4568).

Every packet is authenticated before it is decrypted, so a wrong key gives no sound instead of noise, and which key
belongs to which stream need not be known.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from earwitness.arrays import I32, I64, Bool
from earwitness.errors import InputError
from earwitness.extras import missing, need
from earwitness.trace.encryption import Encryption, KeyExchange, encryption_of
from earwitness.trace.link_layer import Datagrams, Flow
from earwitness.trace.model import Payloads, Trace
from earwitness.trace.rtp import HEADER_BYTES, parse_headers
from earwitness.trace.sdp import MediaDescription

if TYPE_CHECKING:
    from pylibsrtp import Session

MOST_KEYS = 32
"""Keys tried per stream; a call has a few."""
_LONGEST_PACKET = 1500
"""What pylibsrtp takes."""
_WINDOW = 0x7FFF
"""Packets within which reordered ones are accepted: the most that libsrtp permits."""
_MOST_TURNS = 16
"""Times that a stream may begin anew (new key, restarted numbering)."""
_MOST_ROLLOVERS = 8
"""Wraps of the sequence number before the capture began that are tried: three hours of a call."""
_STEP = 0x7000
"""Sequence numbers stepped over at a time to turn libsrtp's rollover counter; half a cycle would be ambiguous."""


@dataclass(frozen=True)
class Suite:
    """A crypto suite: its name in SDP and in pylibsrtp, lengths of master key and salt together, of the tag (bytes)."""

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
        Suite("AEAD_AES_128_GCM", "SRTP_PROFILE_AEAD_AES_128_GCM", 28, 16, aead=True),
        Suite("AEAD_AES_256_GCM", "SRTP_PROFILE_AEAD_AES_256_GCM", 44, 16, aead=True),
    )
}
"""The suites that pylibsrtp offers (RFC 4568 6.2, RFC 7714)."""
_UNREAD = (
    "AES_192_CM_HMAC_SHA1_80",
    "AES_192_CM_HMAC_SHA1_32",
    "AES_256_CM_HMAC_SHA1_80",
    "AES_256_CM_HMAC_SHA1_32",
    "F8_128_HMAC_SHA1_80",
)
_UNSUITED = ("UNENCRYPTED_SRTP", "UNAUTHENTICATED_SRTP")
"""Session parameters with which there is nothing to decrypt, or nothing to check the key by (RFC 4568 6.3)."""


@dataclass(frozen=True)
class SrtpKey:
    """A master key with its salt, its suite, and the length of the MKI in packets. Its bytes are never printed."""

    suite: str
    key: bytes = field(repr=False)
    mki_bytes: int = 0
    from_sdp: bool = False

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
        raise _unfit(f"pylibsrtp does not offer the suite {suite}")
    if not words:
        raise _unfit("it is empty")
    found: list[SrtpKey] = []
    for parameter in words[0 if named else -1].split(";"):
        key, mki = _parameter(parameter)
        fitting = [one for one in SUITES.values() if one.key_bytes == len(key) and suite in ("", one.name)]
        if not fitting:
            lengths = ", ".join(f"{one.key_bytes} ({one.name})" for one in SUITES.values() if suite in ("", one.name))
            raise _unfit(f"it has {len(key)} bytes, and key and salt together are {lengths}")
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
        at_source = section.port == flow.source_port
        near = at_source or section.port == flow.destination_port
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
                found.setdefault((key.suite, key.key, key.mki_bytes), replace(key, from_sdp=True))
        if len(found) >= MOST_KEYS:
            break
    return tuple(found.values())[:MOST_KEYS]


@dataclass(frozen=True, eq=False)
class Decrypted:
    """The packets of one stream after decryption; arrays (n,), by the rows given.

    `payloads`: the decrypted ones, each with its RTP header before it in the buffer; `captured` is 0 where `opened` is
    False. `size`: payload bytes without tag and padding. `keys`: those that opened packets. Of the others, `cut` were
    cut by the snap length, `long` are longer than libsrtp takes, and `refused` authenticate with no key.
    """

    payloads: Payloads
    size: I32
    opened: Bool
    keys: tuple[SrtpKey, ...]
    cut: int
    long: int
    refused: int

    @property
    def note(self) -> str:
        """What was decrypted with what, and what was not, in one line."""
        total, count = len(self.opened), int(np.count_nonzero(self.opened))
        reasons = ((self.refused, "did not authenticate"), (self.cut, "were cut"), (self.long, "are too long"))
        left = ", ".join(f"{number} {reason}" for number, reason in reasons if number)
        if not count:
            return f"none of its {total} packets could be decrypted: {left}"
        source = "in the capture's SDP" if self.keys[0].from_sdp else "given"
        line = f"decrypted with the key {source} ({self.keys[0].suite})"
        return f"{line}; {total - count} of {total} packets were not: {left}" if left else line

    def applied(self, trace: Trace) -> Trace:
        """The trace with the decrypted payloads; its rows are those given to `decrypt_stream`, in the same order."""
        return replace(trace, payloads=self.payloads, size=self.size, notes=(*trace.notes, self.note))


def decrypt_stream(found: Datagrams, rows: I64, keys: Sequence[SrtpKey]) -> Decrypted:
    """Decrypt the packets of one SRTP stream: those of `found` at `rows` (n,), in order of arrival.

    Each distinct packet is decrypted once, with whichever key authenticates it. Needs the extra `srtp`; raises
    `InputError` without it, never for what a packet holds.
    """
    need("srtp", tried="decrypting", on="SRTP")
    start, captured, length = found.start[rows], found.captured[rows], found.length[rows]
    whole = captured == length
    fits = length <= _LONGEST_PACKET
    data = found.data.data
    bounds = zip(start.tolist(), captured.tolist(), (whole & fits).tolist(), strict=True)
    packets = [bytes(data[at : at + size]) if usable else b"" for at, size, usable in bounds]
    opened, used = _opened([packet for packet in dict.fromkeys(packets) if len(packet) > HEADER_BYTES], keys)

    clear = Payloads.of([opened.get(packet, b"") for packet in packets])
    right = clear.captured > 0
    inside = parse_headers(clear.data, clear.start, clear.captured, clear.captured)
    outside = parse_headers(found.data, start, captured, length)
    added = max((key.overhead for key in used), default=0)
    size = np.where(right, inside.payload_size, np.maximum(length - outside.payload_at - added, 0)).astype(np.int32)
    at = np.where(right, np.minimum(inside.payload_at, clear.captured), 0)
    # Padding is encrypted too; a padding count that cannot be is taken for speech.
    size = np.where(right, np.minimum(size, clear.captured - at), size).astype(np.int32)
    payloads = Payloads(clear.data, clear.start + at, np.where(right, size, 0).astype(np.int32))
    refused = int(np.count_nonzero(~right & whole & fits))
    return Decrypted(
        payloads,
        size,
        right,
        used,
        int(np.count_nonzero(~whole)),
        int(np.count_nonzero(whole & ~fits)),
        refused,
    )


def open_stream(
    trace: Trace,
    flow: Flow,
    found: Datagrams,
    rows: I64,
    *,
    sections: Sequence[MediaDescription] = (),
    exchanges: Mapping[Flow, KeyExchange] | None = None,
    keys: Sequence[SrtpKey] = (),
) -> tuple[Trace, Encryption, Decrypted | None]:
    """Recognise whether a stream is encrypted, and decrypt it if a key is at hand.

    `rows` (n,) are its packets among `found`, in the order of the trace's rows; `keys` those given by the user, tried
    before the SDP's, also on a stream that does not look encrypted. Returns the trace, with a note, and decrypted as
    far as possible; whether its sound is still hidden; and what decryption was tried. Raises `InputError` if the user
    gives a key and the extra `srtp` is not installed.
    """
    encryption = encryption_of(trace, flow, sections, exchanges)
    candidates = (*keys, *(sdp_keys(sections, flow) if encryption.kind else ()))
    note, result = str(encryption), None
    if candidates and not keys and missing("srtp"):
        note += "; its key is in the SDP, and pip install 'earwitness[srtp]' decrypts it"
    elif candidates:
        result = decrypt_stream(found, rows, candidates)
        if result.keys:
            return result.applied(trace), Encryption(), result
        note += f"; {result.note}" if note else ""
    return replace(trace, notes=(*trace.notes, note)) if note else trace, encryption, result


def check_keys(results: Sequence[Decrypted], keys: Sequence[SrtpKey], source: str) -> None:
    """Raise `InputError` if none of the keys given by the user opened any packet of a capture's streams."""
    given = [key for key in keys if not key.from_sdp]
    if not given or any(not key.from_sdp for result in results for key in result.keys):
        return
    cut, refused = sum(result.cut for result in results), sum(result.refused for result in results)
    happened = f"no packet authenticates with the key given ({refused} tried"
    happened += f", {cut} cut by the snap length)" if cut else ")"
    remedy = "give the key of the end that sent the stream, with its suite, in {srtp_key}"
    raise InputError("decrypting", source, happened, remedy, field="srtp_key")


# -- libsrtp ------------------------------------------------------------------------------------------------------


def _opened(packets: list[bytes], keys: Sequence[SrtpKey]) -> tuple[dict[bytes, bytes], tuple[SrtpKey, ...]]:
    """The decrypted form of each packet that can be decrypted, and the keys used, in order of first use."""
    opened: dict[bytes, bytes] = {}
    used: dict[SrtpKey, None] = {}
    for _ in range(_MOST_TURNS):
        packets = [packet for packet in packets if packet not in opened]
        begun = _begun(packets, keys)
        if begun is None:
            break
        first, key, session = begun
        used[key] = None
        for packet in packets[first:]:
            clear = _unprotected(session, key, packet)
            if clear:
                opened[packet] = clear
    return opened, tuple(used)


def _begun(packets: list[bytes], keys: Sequence[SrtpKey]) -> tuple[int, SrtpKey, Session] | None:
    """Where decryption can begin: a packet's index, its key, and a session that is about to receive it."""
    examined = sorted({0, 1, len(packets) // 4, len(packets) // 2, len(packets) - 1} & set(range(len(packets))))
    for rollovers in (range(1), range(1, _MOST_ROLLOVERS + 1)):
        for index in examined:
            for key in keys:
                for rollover in rollovers:
                    if _unprotected(_session(key, packets[index], rollover), key, packets[index]):
                        return index, key, _session(key, packets[index], rollover)
    return None


def _unprotected(session: Session, key: SrtpKey, packet: bytes) -> bytes:
    """The decrypted packet; empty if it does not authenticate."""
    import pylibsrtp

    try:
        return session.unprotect(key.wire(packet))
    except pylibsrtp.Error:
        return b""


def _session(key: SrtpKey, packet: bytes, rollovers: int) -> Session:
    """A receiver that expects this packet after so many wraps of the sequence number.

    libsrtp counts wraps only by packets that authenticate, and a capture may begin after some. So the receiver is sent
    packets of our own, protected with the same key, whose numbers lead up to this one.
    """
    import pylibsrtp

    def made(kind: int) -> Session:
        profile = getattr(pylibsrtp.Policy, SUITES[key.suite].profile)
        policy = pylibsrtp.Policy(key=key.key, ssrc_type=kind, srtp_profile=profile)
        policy.window_size = _WINDOW
        return pylibsrtp.Session(policy)

    receiver = made(pylibsrtp.Policy.SSRC_ANY_INBOUND)
    if rollovers:
        sender = made(pylibsrtp.Policy.SSRC_ANY_OUTBOUND)
        for number in _stairs((rollovers << 16) + int.from_bytes(packet[2:4])):
            header = struct.pack(">BBHI", 0x80, 0, number & 0xFFFF, 0) + packet[8:12]
            receiver.unprotect(sender.protect(header + b"\0"))
    return receiver


def _stairs(target: int) -> list[int]:
    """Packet indices that lead from the first cycle to somewhat before a target, of a later cycle."""
    return list(range(target - _STEP // 2, -1, -_STEP))[::-1]
