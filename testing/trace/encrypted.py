"""SRTP made by libsrtp, and key exchanges, as captures have them."""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pylibsrtp

from earwitness.arrays import I64
from earwitness.trace.capture import Capture, parse_capture
from earwitness.trace.encoding import Encoding
from earwitness.trace.link_layer import Datagrams, Flow
from earwitness.trace.model import UNKNOWN, Payloads, Trace
from earwitness.trace.rtp import RtpPacket, parse_headers
from earwitness.trace.srtp_keys import SUITES
from testing.trace.making import Datagram, pcap

OFFERED = [suite.name for suite in SUITES.values() if suite.profile]
"""The suites that libsrtp encrypts here."""


def master_key(suite: str = "AES_CM_128_HMAC_SHA1_80", seed: int = 1) -> bytes:
    """A master key with its salt."""
    return np.random.default_rng(seed).bytes(SUITES[suite].key_bytes)


def inline(key: bytes, options: str = "") -> str:
    """A key as SDP writes it (RFC 4568 9.2)."""
    return "inline:" + base64.b64encode(key).decode() + options


def protector(key: bytes, suite: str = "AES_CM_128_HMAC_SHA1_80") -> Callable[[bytes], bytes]:
    """A sender: RTP packets in order of their numbers to SRTP packets."""
    profile = getattr(pylibsrtp.Policy, SUITES[suite].profile)
    policy = pylibsrtp.Policy(key=key, ssrc_type=pylibsrtp.Policy.SSRC_ANY_OUTBOUND, srtp_profile=profile)
    return pylibsrtp.Session(policy).protect


def encrypted(datagrams: Sequence[Datagram], key: bytes, suite: str = "AES_CM_128_HMAC_SHA1_80") -> list[Datagram]:
    """The same RTP datagrams as SRTP; they must be in order of their numbers."""
    protect = protector(key, suite)
    return [replace(datagram, payload=protect(datagram.payload)) for datagram in datagrams]


def rtp_of(payloads: Sequence[bytes], *, payload_type: int = 0, sequence: int = 1000, step: int = 160) -> list[bytes]:
    """The RTP packets of a stream."""
    return [
        bytes(RtpPacket(payload_type, (sequence + i) & 0xFFFF, step * i, 0xABCD, payload, i == 0))
        for i, payload in enumerate(payloads)
    ]


def sdp(
    port: int,
    profile: str = "RTP/SAVP",
    address: str = "10.8.0.2",
    crypto: Sequence[str] = (),
    codec: str = "PCMU/8000",
) -> str:
    """A session description with one audio section."""
    lines = [
        f"c=IN IP4 {address}",
        f"m=audio {port} {profile} 0",
        f"a=rtpmap:0 {codec}",
        *(f"a=crypto:{line}" for line in crypto),
    ]
    return "".join(f"{line}\r\n" for line in lines)


def capture_of(datagrams: Sequence[Datagram], snap_length: int = 262_144) -> Capture:
    """The capture of these datagrams."""
    return parse_capture(pcap(datagrams, snap_length=snap_length))


def streams_of(found: Datagrams) -> list[tuple[Trace, Flow, I64]]:
    """Each flow's RTP as it was captured, before any decryption: trace, flow, and rows among the datagrams."""
    headers = parse_headers(found.data, found.start, found.captured, found.length)
    streams = []
    for number, flow in enumerate(found.flows):
        rows = np.flatnonzero((found.flow == number) & headers.looks_right)
        if not len(rows):
            continue
        at, size = headers.payload_at[rows], headers.payload_size[rows]
        trace = Trace(
            sequence=headers.sequence[rows].astype(np.int64),
            timestamp=headers.timestamp[rows],
            payload_type=headers.payload_type[rows],
            marker=headers.marker[rows],
            size=size,
            sent_ns=np.full(len(rows), UNKNOWN, dtype=np.int64),
            arrived_ns=found.time_ns[rows],
            clock_rate=8000,
            payloads=Payloads(
                found.data, found.start[rows] + at, np.clip(found.captured[rows] - at, 0, size).astype(np.int32)
            ),
            formats={0: Encoding("PCMU", 8000)},
        )
        streams.append((trace, flow, rows))
    return streams


def dtls_record(kind: int, body: bytes = bytes(40), epoch: int = 0, version: int = 0xFEFD) -> bytes:
    """One DTLS record (RFC 6347 4.1)."""
    return struct.pack(">BHHHIH", kind, version, epoch, 0, 1, len(body)) + body


def zrtp(message: bytes) -> bytes:
    """One ZRTP packet (RFC 6189 5)."""
    body = struct.pack(">HH", 0x505A, 3) + message.ljust(8)
    return struct.pack(">HH4sI", 0x1000, 7, b"ZRTP", 0xABCD) + body + bytes(4)
