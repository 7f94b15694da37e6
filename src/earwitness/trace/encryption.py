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
from earwitness.trace.bytewindow import big_endian, window
from earwitness.trace.encoding import Encoding
from earwitness.trace.link_layer import Datagrams, Flow
from earwitness.trace.model import Trace
from earwitness.trace.payload_types import main_payload_type
from earwitness.trace.sdp import MediaDescription

_MOST_EXAMINED = 20_000
"""Datagrams of key exchanges read per capture; a handshake has a dozen."""
_MOST_RECORDS = 16
_HANDSHAKE, _CHANGE_CIPHER = 22, 20
_ZRTP_COOKIE = b"ZRTP"
_ZRTP_DONE = (b"Confirm1", b"Confirm2", b"Conf2ACK")

_MOST_BYTES = 160
"""Bytes examined per packet."""
_SAMPLE = 8_000
"""Bytes examined per stream, if it has as many."""
_FEWEST_PACKETS, _MOST_PACKETS = 24, 200
_UNIFORM, _UNEVEN = 5.0, 12.0
"""Standard deviations of the chi-square statistic of bytes from that of random ones: below the first they look random
(a random stream exceeds it once in 10**5), above the second they cannot be."""

_WAVEFORM = ("pcmu", "pcma", "l16", "l8", "g722")
_ADAPTIVE = ("dvi4", "vdvi", "g721", "g726-16", "g726-24", "g726-32", "g726-40")
_AAL2 = tuple(f"aal2-{name}" for name in _ADAPTIVE)
_LEAST_BYTES = {**dict.fromkeys(_WAVEFORM, 1600), "l16": 4000, **dict.fromkeys((*_ADAPTIVE, *_AAL2), 8000)}
"""Bytes needed to tell the codec's own from random ones. Full-scale white noise in G.726 at 16 kbit/s is nearest."""
_SIGNATURE = {"gsm": 0xD, "gsm-efr": 0xC}
"""The first four bits of every packet (RFC 3551 4.5.8.1, 4.5.9)."""
_WITH_HEADER = ("opus", "speex", "amr", "amr-wb", "evs", "mpa", "red")
"""Codecs whose packets begin with a header that has few values."""


@dataclass(frozen=True)
class Encryption:
    """Whether a stream is encrypted, and how that is known.

    `kind`: `SRTP`, or empty. `basis`: `sdp`, `dtls`, `zrtp` or `randomness` (of the payload); empty if nothing suggests
    encryption. `doubt`: what speaks against it or leaves it open, as a clause; empty if there is no doubt.
    """

    kind: str = ""
    basis: str = ""
    doubt: str = ""

    @property
    def certain(self) -> bool:
        """Whether the stream is encrypted beyond doubt, so that decoding it would give noise."""
        return bool(self.kind) and not self.doubt

    def __str__(self) -> str:
        if self.certain:
            return f"encrypted ({self.kind}): timing yes, sound no"
        return f"perhaps encrypted ({self.kind}): {self.doubt}" if self.kind else self.doubt


def no_sound(stream: object, encryption: Encryption) -> InputError:
    """The error for whoever wants to hear an encrypted stream; `{srtp_key}` is the setting that gives its key."""
    return InputError(
        "decoding",
        stream,
        f"{encryption} (known by {_BASES[encryption.basis]})",
        "give the key with {srtp_key}",
        related=("srtp_key",),
    )


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
    fields = window(data, at, 8)
    first = fields[:, 0]
    record = (first >= 20) & (first < 26) & (fields[:, 1] == 0xFE) & (fields[:, 2] >= 0xFC)
    unified = (first >= 32) & (first < 64)
    cookie = big_endian(fields, 4, 4) == int.from_bytes(_ZRTP_COOKIE)
    return np.asarray((captured >= 13) & (record | unified | (cookie & (first >> 4 == 1))))


def key_exchanges(found: Datagrams) -> dict[Flow, KeyExchange]:
    """The key exchanges among a capture's datagrams, by flow, both directions of it. Never raises."""
    rows = np.flatnonzero(key_exchange_among(found.data, found.start, found.captured))[:_MOST_EXAMINED]
    seen: dict[Flow, set[KeyExchange]] = defaultdict(set)
    for row in rows.tolist():
        begin = int(found.start[row])
        payload = found.data[begin : begin + int(found.captured[row])].tobytes()
        flow = found.flows[int(found.flow[row])]
        back = Flow(flow.destination, flow.destination_port, flow.source, flow.source_port)
        what = _of_zrtp(payload) if payload[0] >> 4 == 1 and payload[4:8] == _ZRTP_COOKIE else _of_dtls(payload)
        # A header of DTLS 1.3 says too little by itself (RFC 9147 4): it counts after a handshake alone.
        if what and (payload[0] < 32 or KeyExchange.DTLS_STARTED in seen[flow]):
            seen[flow] |= what
            seen[back] |= what
    return {flow: next(one for one in KeyExchange if one in what) for flow, what in seen.items() if what}


def _of_zrtp(payload: bytes) -> set[KeyExchange]:
    # Preamble 0x505a, length, and the type of the message in 8 characters (RFC 6189 5.2).
    return {KeyExchange.ZRTP} if payload[16:24] in _ZRTP_DONE else {KeyExchange.ZRTP_STARTED}


def _of_dtls(payload: bytes) -> set[KeyExchange]:
    """What the records of one datagram show (RFC 6347 4.1): a handshake, and whether it came to its encrypted part."""
    if payload[0] >= 32:
        return {KeyExchange.DTLS}
    what: set[KeyExchange] = set()
    at = 0
    for _ in range(_MOST_RECORDS):
        if at + 13 > len(payload):
            break
        kind, version, epoch, length = struct.unpack_from(">BHH6xH", payload, at)
        if version >> 8 != 0xFE or not length:
            break
        if kind in (_HANDSHAKE, _CHANGE_CIPHER):
            what.add(KeyExchange.DTLS if kind == _CHANGE_CIPHER or epoch else KeyExchange.DTLS_STARTED)
        at += 13 + length
    return what


# -- the look of the payload --------------------------------------------------------------------------------------


class Look(StrEnum):
    """What a stream's payload bytes show."""

    RANDOM = "random"
    CLEAR = "clear"
    OPEN = "open"
    """Too few bytes, or a codec whose own look random."""


def look_of(trace: Trace) -> tuple[Look, bool]:
    """Whether the payload of a stream's speech looks encrypted, and whether its codec makes that certain.

    Waveform codecs (G.711, G.722, G.726, L16): a chi-square test of the bytes against even frequencies; GSM: its
    signature; codecs with a header (Opus, Speex, AMR): how often first bytes repeat; G.729: its parity bit; iLBC: its
    last bit. Of an unknown codec, bytes that look random say little.
    """
    main, payloads = _sample(trace)
    meaning = trace.formats.get(main, Encoding("", trace.clock_rate))
    name = meaning.name.lower()
    if name in _SIGNATURE:
        return _by_signature(payloads, _SIGNATURE[name]), True
    if name in _LEAST_BYTES:
        return _by_frequency(payloads, _LEAST_BYTES[name]), True
    if name == "g729":
        return _by_parity(payloads), False
    if name == "ilbc":
        return _by_last_bit(payloads), False
    header = _by_first_byte(payloads)
    if name in _WITH_HEADER or meaning.role == "video" or header is not Look.RANDOM:
        return header, False
    if name:
        return Look.OPEN, False
    return _by_frequency(payloads, _LEAST_BYTES["g726-16"]), False


def _sample(trace: Trace) -> tuple[int, list[bytes]]:
    """The main payload type, and distinct payloads of it (as captured) from all over the stream."""
    if trace.payloads is None or not len(trace):
        return -1, []
    every = np.arange(0, len(trace), -(-len(trace) // (4 * _MOST_PACKETS)), dtype=np.int64)
    payload_type, captured = trace.payload_type[every], trace.payloads.captured[every]
    main = main_payload_type(payload_type)
    here = np.flatnonzero((payload_type == main) & (captured > 0))
    if not len(here):
        return main, []
    usual = min(int(captured[here[len(here) // 2]]), _MOST_BYTES)
    count = max(_FEWEST_PACKETS, min(_SAMPLE // usual, _MOST_PACKETS))
    here = here[:: -(-len(here) // count)]
    data = trace.payloads.data.data
    bounds = zip(trace.payloads.start[every[here]].tolist(), captured[here].tolist(), strict=True)
    # Silence and duplicates repeat a payload: as random as one of it.
    return main, list(dict.fromkeys([bytes(data[a : a + min(n, _MOST_BYTES)]) for a, n in bounds]))


def _by_frequency(payloads: Sequence[bytes], least: int) -> Look:
    """Chi-square of the frequencies of bytes; random ones give 255 with a standard deviation of 22.6."""
    joined = np.frombuffer(b"".join(payloads), dtype=np.uint8)
    n = len(joined)
    if n < 256:
        return Look.OPEN
    counts = np.bincount(joined, minlength=256)
    away = (float(np.sum((counts - n / 256) ** 2)) * 256 / n - 255) / 510**0.5
    if away > _UNEVEN and n >= 1024:
        return Look.CLEAR
    return Look.RANDOM if away < _UNIFORM and n >= least else Look.OPEN


def _by_first_byte(payloads: Sequence[bytes]) -> Look:
    """How many pairs of packets begin with the same byte: of random ones, one in 256."""
    n = len(payloads)
    if n < _FEWEST_PACKETS:
        return Look.OPEN
    counts = np.bincount([payload[0] for payload in payloads], minlength=256)
    pairs, expected = int(np.sum(counts * (counts - 1) // 2)), n * (n - 1) / 512
    if pairs > expected + 8 * expected**0.5 + 8:
        return Look.CLEAR
    return Look.RANDOM if pairs < expected + 4 * expected**0.5 + 3 else Look.OPEN


def _by_share(hits: int, n: int, chance: float) -> Look:
    """Whether a property that clear frames have always, and random ones by `chance`, holds."""
    if n < _FEWEST_PACKETS:
        return Look.OPEN
    if hits >= 0.95 * n:
        return Look.CLEAR
    return Look.RANDOM if hits < n * chance + 5 * (n * chance * (1 - chance)) ** 0.5 else Look.OPEN


def _by_signature(payloads: Sequence[bytes], signature: int) -> Look:
    return _by_share(sum(payload[0] >> 4 == signature for payload in payloads), len(payloads), 1 / 16)


def _by_parity(payloads: Sequence[bytes]) -> Look:
    """G.729's parity bit over the pitch delay of the first subframe (G.729 3.7.2, RFC 3551 4.5.6)."""
    frames = [payload[at : at + 10] for payload in payloads for at in range(0, len(payload) - 9, 10)]
    # 18 bits of line spectral pairs, 8 of the delay, of which the first 6 are protected, and their parity.
    delays = [(int.from_bytes(frame[:4]) >> 5) & 0x1FF for frame in frames]
    return _by_share(sum(((delay >> 3).bit_count() + delay) & 1 == 1 for delay in delays), len(delays), 0.5)


def _by_last_bit(payloads: Sequence[bytes]) -> Look:
    """iLBC's empty-frame indicator, the last bit of each frame, which is 0 (RFC 3951 3.8)."""
    for size in (50, 38):
        whole = [payload for payload in payloads if len(payload) % size == 0]
        if len(whole) > len(payloads) / 2:
            frames = [payload[at + size - 1] & 1 for payload in whole for at in range(0, len(payload), size)]
            return _by_share(frames.count(0), len(frames), 0.5)
    return _by_first_byte(payloads)


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
    agrees. Without either, the payload decides (see `look_of`); where its codec leaves doubt, that is said. Where the
    SDP says that RTP is plain, only codecs without doubt count.
    """
    claim = _claim(flow, sections)
    exchange = (exchanges or {}).get(flow)
    looks, certain = look_of(trace)
    agreed = claim is _Claim.AGREED or exchange in (KeyExchange.DTLS, KeyExchange.ZRTP)
    offered = claim is _Claim.OFFERED or exchange is not None
    basis = "sdp" if claim in (_Claim.AGREED, _Claim.OFFERED) else ""
    if exchange is not None and (not basis or (claim is _Claim.OFFERED and agreed)):
        basis = exchange.value.partition(" ")[0]
    if agreed and looks is Look.CLEAR:
        return Encryption("", basis, f"{_BASES[basis]} says that it is encrypted, but its payload is not")
    if agreed or (offered and looks is Look.RANDOM):
        return Encryption("SRTP", basis)
    if offered:
        if looks is Look.CLEAR:
            return Encryption()
        return Encryption("SRTP", basis, "it was offered, and nothing shows whether it was accepted")
    if looks is not Look.RANDOM or (claim is _Claim.PLAIN and not certain):
        return Encryption()
    return Encryption("SRTP", "randomness", "" if certain else "its payload looks random, as some codecs' does")


def _claim(flow: Flow, sections: Sequence[MediaDescription]) -> _Claim:
    """What the SDP of both ends says about a flow."""
    said = [
        _said(sections, flow.destination, flow.destination_port),
        _said(sections, flow.source, flow.source_port),
    ]
    known = [one for one in said if one is not _Claim.NONE]
    if not known:
        return _Claim.NONE
    if all(one is _Claim.PLAIN for one in known):
        return _Claim.PLAIN
    if _Claim.PLAIN in known:
        return _Claim.OFFERED
    # A key in RTP/AVP is an offer to who understands it, until the other end has one too.
    return _Claim.AGREED if _Claim.AGREED in known or len(known) == 2 else _Claim.OFFERED


def _said(sections: Sequence[MediaDescription], address: str, port: int) -> _Claim:
    """What one end says about the RTP that it receives."""
    here = [section for section in sections if section.port == port]
    here = [section for section in here if section.address == address] or here
    if not here:
        return _Claim.NONE
    if any("SAVP" in section.profile for section in here):
        return _Claim.AGREED
    return _Claim.OFFERED if any(section.crypto for section in here) else _Claim.PLAIN
