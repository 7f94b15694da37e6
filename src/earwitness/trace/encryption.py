"""Recognises encrypted RTP: by the SDP, by a key exchange on the flow, or by the look of the payload.

SRTP (RFC 3711) leaves the RTP header in clear, so the timing of an encrypted stream is complete. Its sound needs the
key.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from earwitness.arrays import I32, I64, U8, Bool
from earwitness.errors import InputError
from earwitness.trace.appearance import Appearance, appearance_of
from earwitness.trace.bytewindow import big_endian, window
from earwitness.trace.link_layer import Datagrams, Flow
from earwitness.trace.model import Trace
from earwitness.trace.sdp import MediaDescription

_MOST_EXAMINED = 20_000
"""Datagrams of key exchanges read per capture; a handshake has a dozen."""
_MOST_RECORDS = 16
_HANDSHAKE, _CHANGE_CIPHER = 22, 20
_SERVER_HELLO = b"\2"
_ZRTP_COOKIE = b"ZRTP"
_ZRTP_DONE = (b"Confirm1", b"Confirm2", b"Conf2ACK")


@dataclass(frozen=True)
class Encryption:
    """Whether a stream is encrypted, and how that is known.

    `kind`: `SRTP`, or empty. `basis`: `sdp`, `dtls`, `zrtp` or `randomness` (of the payload); empty if nothing suggests
    encryption. `doubt`: what speaks against it or leaves it open, as a clause; empty if there is no doubt.
    `refused`: that the user's keys opened nothing, as a clause; empty if none was given.
    """

    kind: str = ""
    basis: str = ""
    doubt: str = ""
    refused: str = ""

    @property
    def certain(self) -> bool:
        """Whether the stream is encrypted beyond doubt, so that decoding it would give noise."""
        return bool(self.kind) and not self.doubt

    def __str__(self) -> str:
        if self.certain:
            return f"encrypted ({self.kind}): timing yes, sound no"
        return f"perhaps encrypted ({self.kind}): {self.doubt}" if self.kind else self.doubt


NOT_ENCRYPTED = Encryption()


def no_sound(stream: object, encryption: Encryption) -> InputError:
    """The error for whoever wants to hear an encrypted stream; `{srtp_key}` is the setting that gives its key."""
    happened, remedy = f"{encryption} (known by {_BASES[encryption.basis]})", "give the key with {srtp_key}"
    if encryption.refused:
        happened += f", and {encryption.refused}"
        remedy = "give the key of the end that sent the stream, with its suite, in {srtp_key}"
    return InputError("decoding", stream, happened, remedy, related=("srtp_key",))


_BASES = {
    "sdp": "its SDP",
    "dtls": "a DTLS handshake",
    "zrtp": "a ZRTP key exchange",
    "randomness": "the randomness of its payload",
}


# -- key exchanges ------------------------------------------------------------------------------------------------


class KeyExchange(StrEnum):
    """What of a key exchange was seen on a flow; `STARTED` ones may have failed."""

    DTLS = "dtls"
    DTLS_STARTED = "dtls started"
    ZRTP = "zrtp"
    ZRTP_STARTED = "zrtp started"


def key_exchange_among(data: U8, at: I64, captured: I64 | I32) -> Bool:
    """Which payloads, starting at `at` with `captured` bytes each (n,), begin like DTLS (RFC 7983) or ZRTP (RFC 6189).

    Never RTP, whose first byte is at least 128.
    """
    chosen = np.asarray(captured >= 13)
    # Among RTP, hardly any packet begins like this.
    few = np.flatnonzero(chosen & (window(data, at, 1)[:, 0] < 32))
    if not len(few):
        return np.zeros(len(chosen), dtype=bool)
    fields = window(data, at[few], 8)
    first = fields[:, 0]
    record = (first >= 20) & (first < 26) & (fields[:, 1] == 0xFE) & (fields[:, 2] >= 0xFC)
    cookie = big_endian(fields, 4, 4) == int.from_bytes(_ZRTP_COOKIE)
    chosen[:] = False
    chosen[few] = record | (cookie & (first >> 4 == 1))
    return chosen


def key_exchanges(found: Datagrams, rows: I64 | None = None) -> dict[Flow, KeyExchange]:
    """The key exchanges among a capture's datagrams, or among these rows, (n,), by flow, both directions of it.

    Never raises.
    """
    rows = np.arange(len(found)) if rows is None else rows
    rows = rows[key_exchange_among(found.data, found.start[rows], found.captured[rows])][:_MOST_EXAMINED]
    seen: dict[Flow, set[KeyExchange]] = defaultdict(set)
    for row in rows.tolist():
        begin = int(found.start[row])
        payload = found.data[begin : begin + int(found.captured[row])].tobytes()
        flow = found.flows[int(found.flow[row])]
        what = _of_zrtp(payload) if payload[0] >> 4 == 1 and payload[4:8] == _ZRTP_COOKIE else _of_dtls(payload)
        seen[flow] |= what
        seen[flow.reversed] |= what
    return {flow: next(one for one in KeyExchange if one in what) for flow, what in seen.items() if what}


def _of_zrtp(payload: bytes) -> set[KeyExchange]:
    # Preamble 0x505a, length, and the type of the message in 8 characters (RFC 6189 5.2).
    return {KeyExchange.ZRTP} if payload[16:24] in _ZRTP_DONE else {KeyExchange.ZRTP_STARTED}


def _of_dtls(payload: bytes) -> set[KeyExchange]:
    """What the records of one datagram show (RFC 6347 4.1): a handshake, and whether both ends took part.

    A server's hello, a change to the agreed cipher, or anything in a later epoch: DTLS 1.3 shows only the first (RFC
    9147 4).
    """
    what: set[KeyExchange] = set()
    at = 0
    for _ in range(_MOST_RECORDS):
        if at + 13 > len(payload):
            break
        kind, version, epoch, length = struct.unpack_from(">BHH6xH", payload, at)
        if version >> 8 != 0xFE or not length:
            break
        answered = payload[at + 13 : at + 14] == _SERVER_HELLO
        if kind in (_HANDSHAKE, _CHANGE_CIPHER):
            both = kind == _CHANGE_CIPHER or epoch or answered
            what.add(KeyExchange.DTLS if both else KeyExchange.DTLS_STARTED)
        at += 13 + length
    return what


# -- the verdict --------------------------------------------------------------------------------------------------


class _Claim(StrEnum):
    NONE = "nothing is said"
    PLAIN = "plain RTP"
    OFFERED = "SRTP is offered"
    AGREED = "SRTP"


def encryption_of(
    trace: Trace,
    flow: Flow,
    sections: Sequence[MediaDescription] = (),
    exchanges: Mapping[Flow, KeyExchange] | None = None,
) -> Encryption:
    """Whether a stream is encrypted.

    `sections`: all media descriptions of the capture; `exchanges`: as from `key_exchanges`. What SDP or a completed key
    exchange says holds, unless the payload cannot be encrypted. An offer or a started exchange counts if the payload
    agrees. Without either, the payload decides (see `appearance_of`); where its codec leaves doubt, that is said. Where
    the SDP says that RTP is plain, only codecs without doubt count.
    """
    claim = _claim(flow, sections)
    exchange = (exchanges or {}).get(flow)
    looks, certain = appearance_of(trace)
    agreed = claim is _Claim.AGREED or exchange in (KeyExchange.DTLS, KeyExchange.ZRTP)
    offered = claim is _Claim.OFFERED or exchange is not None
    basis = "sdp" if claim in (_Claim.AGREED, _Claim.OFFERED) else ""
    if exchange is not None and (not basis or (claim is _Claim.OFFERED and agreed)):
        basis = exchange.value.partition(" ")[0]
    if agreed and looks is Appearance.CLEAR:
        return Encryption("", basis, f"{_BASES[basis]} says that it is encrypted, but its payload is not")
    if agreed or (offered and looks is Appearance.RANDOM):
        return Encryption("SRTP", basis)
    if offered:
        if looks is Appearance.CLEAR:
            return Encryption()
        return Encryption("SRTP", basis, "it was offered, and nothing shows whether it was accepted")
    if looks is not Appearance.RANDOM or (claim is _Claim.PLAIN and not certain):
        return Encryption()
    return Encryption("SRTP", "randomness", "" if certain else "its payload looks random, as some codecs' does")


def _claim(flow: Flow, sections: Sequence[MediaDescription]) -> _Claim:
    """What the SDP of both ends says about a flow."""
    received, sent = (flow.destination, flow.destination_port), (flow.source, flow.source_port)
    said = [_said(sections, received, sent), _said(sections, sent, received)]
    known = {one for one in said if one is not _Claim.NONE}
    if not known:
        return _Claim.NONE
    if _Claim.PLAIN in known:
        # A key in RTP/AVP is an offer to whoever understands it: an answer without one declines it.
        return _Claim.OFFERED if _Claim.AGREED in known else _Claim.PLAIN
    # An answer with a key accepts it; without the answer, it remains an offer.
    return _Claim.AGREED if _Claim.AGREED in known or _Claim.NONE not in said else _Claim.OFFERED


def _said(sections: Sequence[MediaDescription], end: tuple[str, int], other: tuple[str, int]) -> _Claim:
    """What one end (address, port) says about the RTP that it receives."""
    _, port = end
    here = [section for section in sections if section.has_port(port)]
    # Behind NAT an end has another address in SDP, but not that of the other end.
    here = [one for one in here if end in one.places] or [one for one in here if other not in one.places]
    if not here:
        return _Claim.NONE
    if any("SAVP" in section.profile for section in here):
        return _Claim.AGREED
    return _Claim.OFFERED if any(section.crypto for section in here) else _Claim.PLAIN
