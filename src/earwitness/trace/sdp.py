"""Just enough SIP (RFC 3261) and SDP (RFC 8866) to identify the codecs and ports of the RTP in a capture.

Messages in a capture are often cut by the snap length, so this parser accepts incomplete ones; the strict parser of a
SIP library would reject them. This is not a SIP stack; the phone has one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from earwitness.trace.encoding import Encoding
from earwitness.trace.problem import CaptureProblem, ProblemKind

MOST_MESSAGE_BYTES = 2**15
"""Bytes read per message; no call sends longer ones."""
MOST_SECTIONS = 4096
"""Distinct audio descriptions kept per capture."""
SIP_BEGINNINGS = (
    b"SIP/", b"INVI", b"ACK ", b"BYE ", b"CANC", b"REGI", b"OPTI", b"PRAC",
    b"SUBS", b"NOTI", b"PUBL", b"INFO", b"REFE", b"MESS", b"UPDA",
)  # fmt: skip
"""The first four bytes of every request and response."""
_MOST_TEXT = 256
"""Characters kept of a name or address."""
_MOST_TYPES = 128
_MOST_KEYS = 8
_MOST_CANDIDATES = 32
_MOST_PARTS = 32
_BOUNDARY = re.compile(r'boundary="?([^";\s]{1,70})', re.IGNORECASE)
_DIRECTIONS = ("sendrecv", "sendonly", "recvonly", "inactive")

_METHODS = (
    b"INVITE", b"ACK", b"BYE", b"CANCEL", b"REGISTER", b"OPTIONS", b"PRACK",
    b"SUBSCRIBE", b"NOTIFY", b"PUBLISH", b"INFO", b"REFER", b"MESSAGE", b"UPDATE",
)  # fmt: skip
_HEADER = re.compile(r"^[ \t]*(call-id|i|cseq|content-type|c)[ \t]*:(.*)$", re.IGNORECASE | re.MULTILINE)
"""The header fields that matter here, also in their compact forms."""
_COMPACT = {"i": "call-id", "c": "content-type"}


@dataclass(frozen=True)
class MediaDescription:
    """One audio or video `m=` section: where to send its RTP, and the meaning of its payload types.

    `profile`: its transport (`RTP/AVP`, `RTP/SAVP` ...); `crypto`: its `a=crypto` lines (RFC 4568), without the name.
    `direction`: `sendrecv`, `sendonly`, `recvonly` or `inactive` (RFC 8866 6.7), of the section or else of the session.
    `candidates`: further addresses and ports that its RTP may use (ICE, RFC 8839 5.1).
    """

    address: str
    port: int
    payload_types: tuple[int, ...]
    encodings: Mapping[int, Encoding] = field(default_factory=dict)
    ptime_ms: int | None = None
    media: str = "audio"
    profile: str = "RTP/AVP"
    crypto: tuple[str, ...] = ()
    direction: str = "sendrecv"
    candidates: tuple[tuple[str, int], ...] = ()

    @property
    def places(self) -> tuple[tuple[str, int], ...]:
        """All addresses and ports that its RTP may use."""
        return ((self.address, self.port), *self.candidates)

    def has_port(self, port: int) -> bool:
        """Whether its RTP may use this port, of any address."""
        return self.port == port or any(port == one for _, one in self.candidates)

    @property
    def encrypted(self) -> bool:
        """Whether its RTP is SRTP: by its profile (RFC 4568, RFC 5764) or a key in it."""
        return "SAVP" in self.profile or bool(self.crypto)


@dataclass(frozen=True)
class SipMessage:
    """One captured SIP message: a request (`method`, `status` 0) or a response (`status`, and the method of its CSeq).

    `truncated`: the snap length cut the message, so headers and SDP may be missing. `cseq`: the number of its CSeq,
    -1 if there is none: with `call_id` it tells which offer an answer belongs to (RFC 3264, RFC 3261 13.2.1): an answer
    has the offer's number, a re-INVITE or UPDATE a higher one. `media` is also that of early answers (183).
    """

    time_ns: int
    source: str
    destination: str
    method: str
    status: int
    call_id: str
    media: tuple[MediaDescription, ...]
    truncated: bool
    cseq: int = -1


def looks_like_sip(payload: bytes) -> bool:
    """Whether a datagram begins like a SIP request or response."""
    if payload.startswith(b"SIP/2.0 "):
        return True
    method, _, rest = payload.partition(b" ")
    return method in _METHODS and rest[:4].lower().startswith((b"sip:", b"sips", b"tel:", b"urn:"))


class SipReader:
    """Parses the SIP messages in a capture. Identical descriptions share one value, and their number is limited."""

    def __init__(self) -> None:
        self._seen: dict[bytes, _Content] = {}
        self._known: dict[str, tuple[MediaDescription, ...]] = {}
        self._room = MOST_SECTIONS
        self._left_out = 0

    def message(
        self, payload: bytes, time_ns: int, source: str, destination: str, truncated: bool
    ) -> SipMessage | None:
        """As much of one message as is there; None if the payload is something else. Never raises.

        What is sent again, and all that a short snap length leaves alike, is parsed once.
        """
        content = self._seen.get(payload)
        if content is None:
            if not looks_like_sip(payload):
                return None
            content = self._seen[payload] = _content(payload, self._description)
        return SipMessage(time_ns, source, destination, *content[:4], truncated, content[4])

    def _description(self, body: str) -> tuple[MediaDescription, ...]:
        """The audio and video sections of one description."""
        media = self._known.get(body)
        if media is None:
            found = parse_sdp(body)
            media = tuple(found[: self._room])
            self._left_out += len(found) - len(media)
            self._room -= len(media)
            self._known[body] = media
        return media

    def problems(self) -> list[CaptureProblem]:
        """What was skipped."""
        if not self._left_out:
            return []
        detail = f"{self._left_out} audio descriptions in SDP beyond the first {MOST_SECTIONS}; skipped"
        return [CaptureProblem(ProblemKind.UNSUPPORTED, detail)]


_Content = tuple[str, int, str, tuple[MediaDescription, ...], int]
"""Of a SIP message: method, status, Call-ID, media and CSeq."""


def _content(payload: bytes, read_sdp: Callable[[str], Sequence[MediaDescription]]) -> _Content:
    """What a message says, as far as it is there, its session description read by `read_sdp`. Never raises."""
    text = payload.decode("utf-8", errors="replace")
    first, rest, body = text, "", ""
    # A short snap length often leaves nothing but the first line.
    if b"\n" in payload:
        head, _, body = text.replace("\r\n", "\n").partition("\n\n")
        first, _, rest = head.partition("\n")
    headers: dict[str, str] = {}
    for name, value in _HEADER.findall(rest) if rest else ():
        key = name.lower()
        headers.setdefault(_COMPACT.get(key, key), value.strip())
    status, method = 0, first.partition(" ")[0]
    if method == "SIP/2.0":
        code = first[8:11]
        status = int(code) if code.isascii() and code.isdigit() else 0
        method = headers.get("cseq", "").partition(" ")[2].strip()
    body = _description(body, headers.get("content-type", "")) if "m=" in body else ""
    media = tuple(read_sdp(body)) if body else ()
    cseq = headers.get("cseq", "").partition(" ")[0]
    call_id = headers.get("call-id", "")[:_MOST_TEXT]
    number = int(cseq) if cseq.isascii() and cseq.isdigit() and len(cseq) <= 10 else -1
    return method[:_MOST_TEXT], status, call_id, media, number


def _description(body: str, content_type: str) -> str:
    """The session description in a body: all of it, or its part of a multipart body (RFC 2046 5.1, RFC 5621)."""
    kind, _, parameters = content_type.partition(";")
    if not kind.strip().lower().startswith("multipart/"):
        return body
    named = _BOUNDARY.search(parameters)
    boundary = named[1] if named else ""
    for part in body.split("--" + boundary)[1 : 1 + _MOST_PARTS] if boundary else ():
        head, _, content = part.removeprefix("\n").partition("\n\n")
        if "application/sdp" in head.lower():
            return content
    return ""


def parse_sdp(body: str) -> list[MediaDescription]:
    """The audio and video sections of a session description, which may be incomplete. Never raises."""
    session_address, session_direction = "", "sendrecv"
    media: list[MediaDescription] = []
    current: _Section | None = None
    for raw in body.splitlines():
        key, equals, value = raw.strip().partition("=")
        if not equals:
            continue
        if key == "m":
            if current is not None:
                media.append(current.done())
            current = _Section.of(value, session_address)
            current.direction = session_direction
        elif key == "c":
            address = value.split()[-1].partition("/")[0][:_MOST_TEXT] if value.split() else ""
            if current is None:
                session_address = address
            else:
                current.address = address
        elif key == "a" and current is not None:
            current.attribute(value)
        elif key == "a" and value in _DIRECTIONS:
            session_direction = value
    if current is not None:
        media.append(current.done())
    return [section for section in media if section.port]


@dataclass
class _Section:
    """An `m=` section being parsed."""

    address: str
    port: int
    payload_types: tuple[int, ...]
    media: str = "audio"
    profile: str = "RTP/AVP"
    encodings: dict[int, Encoding] = field(default_factory=dict)
    formats: dict[int, str] = field(default_factory=dict)
    ptime_ms: int | None = None
    crypto: list[str] = field(default_factory=list)
    direction: str = "sendrecv"
    candidates: dict[tuple[str, int], None] = field(default_factory=dict)

    @staticmethod
    def of(value: str, address: str) -> _Section:
        kind, *words = value.split() or [""]
        port = _number(words[0].partition("/")[0]) if words else None
        if kind not in ("audio", "video") or port is None or not 0 < port < 65536:
            return _Section(address, 0, ())
        numbers = [_number(word) for word in words[2 : 2 + _MOST_TYPES]]
        profile = words[1][:_MOST_TEXT] if len(words) > 1 else "RTP/AVP"
        return _Section(address, port, tuple(n for n in numbers if n is not None and n < 128), kind, profile)

    def attribute(self, value: str) -> None:
        name, _, rest = value.partition(":")
        if name == "rtpmap":
            number, _, encoding = rest.partition(" ")
            parts = encoding.strip().split("/")
            payload_type, clock_rate = _number(number), _number(parts[1]) if len(parts) > 1 else None
            if payload_type is not None and payload_type < 128 and clock_rate:
                channels = _number(parts[2]) if len(parts) > 2 else 1
                self.encodings[payload_type] = Encoding(parts[0][:_MOST_TEXT], clock_rate, channels or 1)
        elif name == "fmtp":
            number, _, parameters = rest.partition(" ")
            payload_type = _number(number)
            if payload_type is not None and payload_type < 128:
                self.formats[payload_type] = parameters.strip()[:_MOST_TEXT]
        elif value in _DIRECTIONS:
            self.direction = value
        elif name == "ptime":
            self.ptime_ms = _number(rest) or None
        elif name == "crypto" and len(self.crypto) < _MOST_KEYS:
            self.crypto.append(rest.strip()[:_MOST_TEXT])
        elif name == "candidate" and len(self.candidates) < _MOST_CANDIDATES:
            # Foundation, component (1 is RTP), transport, priority, address, port.
            words = rest.split(maxsplit=6)
            port = _number(words[5]) if len(words) > 5 and words[1] == "1" else None
            if port is not None and 0 < port < 65536:
                self.candidates[words[4][:_MOST_TEXT], port] = None

    def done(self) -> MediaDescription:
        encodings = {
            number: replace(encoding, fmtp=self.formats.get(number, "")) for number, encoding in self.encodings.items()
        }
        return MediaDescription(
            self.address,
            self.port,
            self.payload_types,
            encodings,
            self.ptime_ms,
            self.media,
            self.profile,
            tuple(self.crypto),
            self.direction,
            tuple(place for place in self.candidates if place != (self.address, self.port)),
        )


def _number(text: str) -> int | None:
    """A small decimal number, or None if the text is not one."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
