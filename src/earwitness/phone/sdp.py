"""Offer and answer of one audio stream. Source: RFC 3264, RFC 8866. Parsing and formatting by aiosipua."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from aiosipua import SdpMessage, parse_sdp, serialize_sdp
from aiosipua.sdp import Codec as OfferedCodec
from aiosipua.sdp import ConnectionData, MediaDescription, Origin

from earwitness.errors import InputError
from earwitness.speech.codecs.base import Codec
from earwitness.speech.codecs.registry import at_ptime, kind_of
from earwitness.untrusted import shown

_PROFILES = ("RTP/AVP", "RTP/AVPF")


class NotAcceptable(ValueError):
    """The far end's session description offers nothing that we support; a UAS answers 488."""


@dataclass(frozen=True)
class AgreedMedia:
    """The negotiated media, from our side."""

    codec: Codec
    """With the packet time that the far end asks for, if the codec permits it."""
    send_payload_type: int
    """The payload type that the far end assigned to this codec."""
    remote: tuple[str, int]
    """Destination of our RTP: address and port."""


def offer(codecs: Sequence[Codec], address: str, rtp_port: int, session_id: int) -> str:
    """Return an offer of these codecs, in order of preference."""
    media = MediaDescription(
        media="audio", port=rtp_port, formats=[str(codec.payload_type) for codec in codecs], attributes={}
    )
    media.attributes["rtpmap"] = [f"{codec.payload_type} {_encoding(codec)}" for codec in codecs]
    if formats := [f"{codec.payload_type} {codec.fmtp}" for codec in codecs if codec.fmtp]:
        media.attributes["fmtp"] = formats
    media.attributes["ptime"] = [f"{codecs[0].packet_ms:g}"]
    media.attributes["sendrecv"] = []
    return _session(media, address, session_id)


def sdp_answer(
    text: str, codecs: Sequence[Codec], address: str, rtp_port: int, session_id: int
) -> tuple[str, AgreedMedia]:
    """Return our answer to an offer and the negotiated media: the first offered codec that is among `codecs`.

    Every other stream of the offer is refused with port 0 (RFC 3264 6). Raises NotAcceptable.
    """
    described = _parse(text)
    at, media = _audio(described)
    codec, offered = _first_common(media, codecs)
    payload_type = offered.payload_type
    agreed = AgreedMedia(codec, payload_type, _address(described, media))
    own = MediaDescription(media="audio", port=rtp_port, proto=media.proto, formats=[str(payload_type)], attributes={})
    own.attributes["rtpmap"] = [f"{payload_type} {_encoding(codec)}"]
    if codec.fmtp:
        own.attributes["fmtp"] = [f"{payload_type} {codec.fmtp}"]
    own.attributes["ptime"] = [f"{codec.packet_ms:g}"]
    own.attributes["sendrecv"] = []
    refused = [
        MediaDescription(media=one.media, port=0, proto=one.proto, formats=one.formats) for one in described.media
    ]
    refused[at] = own
    return _session(refused, address, session_id), agreed


def agreed_by(text: str, codecs: Sequence[Codec]) -> AgreedMedia:
    """Return the media negotiated by an answer to our offer of `codecs`. Raises NotAcceptable."""
    described = _parse(text)
    _, media = _audio(described)
    codec, answered = _first_common(media, codecs)
    return AgreedMedia(codec, answered.payload_type, _address(described, media))


def _parse(text: str) -> SdpMessage:
    try:
        return parse_sdp(text)
    except (ValueError, IndexError) as error:
        raise NotAcceptable(f"an unreadable session description ({error})") from error


def _audio(described: SdpMessage) -> tuple[int, MediaDescription]:
    for at, media in enumerate(described.media):
        if media.media == "audio" and media.port and media.proto in _PROFILES:
            return at, media
    kinds = ", ".join(f"{media.media} {media.proto} port {media.port}" for media in described.media[:20])
    raise NotAcceptable(f"no plain RTP audio stream (it has: {kinds or 'nothing'})")


def _address(described: SdpMessage, media: MediaDescription) -> tuple[str, int]:
    connection = media.connection or described.connection
    if connection is None or connection.addr_type != "IP4":
        raise NotAcceptable("no IPv4 address to send to")
    try:
        ipaddress.IPv4Address(connection.address)
    except ValueError as error:
        raise NotAcceptable(f"no IPv4 address to send to, but {shown(connection.address)}") from error
    if not 0 < media.port < 65535:
        raise NotAcceptable(f"no port to send to, but {shown(media.port)}")
    return connection.address, media.port


def _first_common(media: MediaDescription, codecs: Sequence[Codec]) -> tuple[Codec, OfferedCodec]:
    try:
        described = media.codecs
    except (ValueError, IndexError) as error:
        raise NotAcceptable(f"unreadable codecs ({error})") from error
    for offered in described:
        for codec in codecs:
            same = offered.encoding_name.lower() == codec.encoding_name.lower()
            same = same and _packing(offered.fmtp or "") == _packing(codec.fmtp)
            if same and offered.clock_rate == codec.clock_rate and (offered.channels or 1) == codec.channels:
                return _as_asked(codec, media), offered
    names = ", ".join(f"{one.encoding_name or one.payload_type}/{one.clock_rate}" for one in described[:20])
    wanted = ", ".join(codec.encoding_name for codec in codecs)
    raise NotAcceptable(f"codecs {names or 'none'}, where {wanted} was wanted")


def _packing(fmtp: str) -> bool:
    """Whether payloads are octet-aligned, which both ends have to agree on (RFC 4867 8.3.1)."""
    return any(part.strip().lower() == "octet-align=1" for part in fmtp.split(";"))


def _as_asked(codec: Codec, media: MediaDescription) -> Codec:
    """The codec with the packet time that the far end prefers to receive, or with the longest that it takes (RFC 8866
    6.4 and 6.5). One that the codec does not permit is ignored, as the RFC allows."""
    asked, most = (_milliseconds(media, name) for name in ("ptime", "maxptime"))
    if asked is not None:
        with suppress(InputError):
            codec = at_ptime(codec, asked)
    if most is not None and codec.packet_ms > most:
        shorter = [ms for ms in kind_of(codec).ptimes if ms <= most]
        with suppress(InputError):
            codec = at_ptime(codec, max(shorter)) if shorter else codec
    return codec


def _milliseconds(media: MediaDescription, name: str) -> float | None:
    """The value of an attribute; None if it is missing or not a time."""
    values = media.attributes.get(name) or [""]
    try:
        value = float(values[0])
    except (TypeError, ValueError):
        return None
    return value if 0 < value < float("inf") else None


def _encoding(codec: Codec) -> str:
    channels = f"/{codec.channels}" if codec.channels > 1 else ""
    return f"{codec.encoding_name}/{codec.clock_rate}{channels}"


def _session(media: MediaDescription | Sequence[MediaDescription], address: str, session_id: int) -> str:
    number = str(session_id)
    streams = [media] if isinstance(media, MediaDescription) else list(media)
    return serialize_sdp(
        SdpMessage(
            origin=Origin(session_id=number, session_version=number, address=address),
            session_name="-",
            connection=ConnectionData(address=address),
            media=streams,
        )
    )
