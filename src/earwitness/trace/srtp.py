"""Decrypts SRTP (RFC 3711) by libsrtp, given the master key: from the user, or from the capture's SDP (RFC 4568).

Every packet is authenticated before it is decrypted, so a wrong key gives no sound instead of noise, and which key
belongs to which stream need not be known.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from earwitness.arrays import I32, I64, Bool
from earwitness.extras import missing, need
from earwitness.trace.encryption import Encryption, KeyExchange, encryption_of
from earwitness.trace.link_layer import Datagrams, Flow
from earwitness.trace.model import Payloads, Trace
from earwitness.trace.rtp import HEADER_BYTES, parse_headers
from earwitness.trace.sdp import MediaDescription
from earwitness.trace.srtp_counter import CounterMode
from earwitness.trace.srtp_keys import SUITES, SrtpKey, sdp_keys

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


@dataclass
class Attempts:
    """What is left to spend on trying the keys in a capture's SDP, in packets given to libsrtp, so that a flood of keys
    and streams costs seconds. Mutable: one for a capture."""

    left: int = 50_000

    def spend(self, key: SrtpKey, rollovers: int) -> bool:
        """Whether a key may be tried; the user's always may."""
        if key.from_sdp:
            # A wrap takes two packets or three.
            self.left -= 1 + 2 * rollovers
        return self.left >= 0 or not key.from_sdp


@dataclass(frozen=True, eq=False)
class Decrypted:
    """The packets of one stream after decryption; arrays (n,), by the rows given.

    `payloads`: the decrypted ones, each with its RTP header before it in the buffer; `captured` is 0 where `opened` is
    False. `size`: payload bytes without tag and padding. `keys`: those that opened packets. Of the others, `cut` were
    cut by the snap length, `long` are longer than libsrtp takes, and `refused` authenticate with no key. `gave_up`: not
    all keys were tried, because others of the capture took too many attempts.
    """

    payloads: Payloads
    size: I32
    opened: Bool
    keys: tuple[SrtpKey, ...]
    cut: int
    long: int
    refused: int
    gave_up: bool = False

    @property
    def note(self) -> str:
        """What was decrypted with what, and what was not, in one line."""
        total, count = len(self.opened), int(np.count_nonzero(self.opened))
        reasons = ((self.refused, "did not authenticate"), (self.cut, "were cut"), (self.long, "are too long"))
        left = ", ".join(f"{number} {reason}" for number, reason in reasons if number)
        if self.gave_up:
            left += "; not all keys in the SDP were tried, because too many fit nothing"
        if not count:
            return f"none of its {total} packets could be decrypted: {left}"
        source = "in the capture's SDP" if self.keys[0].from_sdp else "given"
        line = f"decrypted with the key {source} ({self.keys[0].suite})"
        return f"{line}; {total - count} of {total} packets were not: {left}" if left else line

    @property
    def refusal(self) -> str:
        """That no packet could be decrypted, as a clause."""
        cut = f", {self.cut} cut by the snap length" if self.cut else ""
        return f"no packet authenticates with the key given ({self.refused} tried{cut})"

    def applied(self, trace: Trace) -> Trace:
        """The trace with the decrypted payloads; its rows are those given to `decrypt_stream`, in the same order."""
        return replace(trace, payloads=self.payloads, size=self.size, notes=(*trace.notes, self.note))


def decrypt_stream(found: Datagrams, rows: I64, keys: Sequence[SrtpKey], attempts: Attempts | None = None) -> Decrypted:
    """Decrypt the packets of one SRTP stream: those of `found` at `rows` (n,), in order of arrival.

    `attempts`: left for its capture; default: those of a whole one.

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
    attempts = Attempts() if attempts is None else attempts
    distinct = [packet for packet in dict.fromkeys(packets) if len(packet) > HEADER_BYTES]
    opened, used = _opened(distinct, keys, attempts)

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
        attempts.left < 0 and refused > 0,
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
    attempts: Attempts | None = None,
) -> tuple[Trace, Encryption, Decrypted | None]:
    """Recognise whether a stream is encrypted, and decrypt it if a key is at hand.

    `rows` (n,) are its packets among `found`, in the order of the trace's rows; `keys` those given by the user, tried
    before the SDP's, also on a stream that does not look encrypted; `attempts`: as in `decrypt_stream`. Returns the
    trace, with a note, and decrypted as far as possible; whether its sound is still hidden; and what decryption was
    tried. Raises `InputError` if the user gives a key and the extra `srtp` is not installed.
    """
    encryption = encryption_of(trace, flow, sections, exchanges)
    candidates = (*keys, *(sdp_keys(sections, flow) if encryption.kind else ()))
    note = str(encryption)
    result: Decrypted | None = None
    if candidates and not keys and missing("srtp"):
        note += "; its key is in the SDP, and pip install 'earwitness[srtp]' decrypts it"
    elif candidates:
        result = decrypt_stream(found, rows, candidates, attempts)
        if result.keys:
            return result.applied(trace), Encryption(), result
        note += f"; {result.note}" if note else result.note if keys else ""
        encryption = replace(encryption, refused=result.refusal if keys else "")
    return replace(trace, notes=(*trace.notes, note)) if note else trace, encryption, result


# -- receivers ------------------------------------------------------------------------------------------------------


def _opened(
    packets: list[bytes], keys: Sequence[SrtpKey], attempts: Attempts
) -> tuple[dict[bytes, bytes], tuple[SrtpKey, ...]]:
    """The decrypted form of each packet that can be decrypted, and the keys used, in order of first use."""
    opened: dict[bytes, bytes] = {}
    used: dict[SrtpKey, None] = {}
    for _ in range(_MOST_TURNS):
        packets = [packet for packet in packets if packet not in opened]
        begun = _begun(packets, keys, attempts)
        if begun is None:
            break
        first, key, session = begun
        used[key] = None
        for packet in packets[first:]:
            clear = _unprotected(session, key, packet)
            if clear:
                opened[packet] = clear
    return opened, tuple(used)


class _Receiver(Protocol):
    """What decrypts the packets of one stream in order: libsrtp, or our counter mode."""

    def unprotect(self, packet: bytes) -> bytes: ...


def _begun(packets: list[bytes], keys: Sequence[SrtpKey], attempts: Attempts) -> tuple[int, SrtpKey, _Receiver] | None:
    """Where decryption can begin: a packet's index, its key, and a receiver that expects it.

    A key of other ports seldom fits: it is tried on the first packet and the last, and without earlier wraps.
    """
    if not packets:
        return None
    ends = {0, len(packets) - 1}
    examined = sorted(ends | ({1, len(packets) // 4, len(packets) // 2} & set(range(len(packets)))))
    here = [key for key in keys if not key.elsewhere]
    plans = [(index, range(1), keys if index in ends else here) for index in examined]
    plans += [(index, range(1, _MOST_ROLLOVERS + 1), here) for index in sorted(ends)]
    for index, rollovers, tried in plans:
        for key in tried:
            for rollover in rollovers:
                # What fits usually fits at once.
                if (index or rollover or key.elsewhere) and not attempts.spend(key, rollover):
                    break
                if _unprotected(_receiver(key, packets[index], rollover), key, packets[index]):
                    return index, key, _receiver(key, packets[index], rollover)
    return None


def _unprotected(receiver: _Receiver, key: SrtpKey, packet: bytes) -> bytes:
    """The decrypted packet; empty if it does not authenticate."""
    import pylibsrtp

    try:
        return receiver.unprotect(key.wire(packet))
    except pylibsrtp.Error:
        return b""


def _receiver(key: SrtpKey, packet: bytes, rollovers: int) -> _Receiver:
    """A receiver that expects this packet after so many wraps of the sequence number.

    libsrtp counts wraps only by packets that authenticate, and a capture may begin after some. So it is sent packets of
    our own, protected with the same key, whose numbers lead up to this one.
    """
    suite = SUITES[key.suite]
    if not suite.profile:
        return CounterMode(key.key, suite.tag_bytes, rollovers)
    import pylibsrtp

    def made(kind: int) -> pylibsrtp.Session:
        profile = getattr(pylibsrtp.Policy, suite.profile)
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
