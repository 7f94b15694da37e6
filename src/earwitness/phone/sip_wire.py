"""SIP messages: how every layer of the phone makes, addresses and logs them.

Grammar and digest computation are aiosipua's. Its user agent is not used: it drops Record-Route as a UAS and the
Contact of a 200 as a UAC, so ACK and BYE are misrouted through a record-routing proxy.
"""

from __future__ import annotations

import re
import secrets
import socket
from dataclasses import dataclass

from aiosipua import SipRequest, SipResponse, parse_uri, parse_via, stringify_via

from earwitness.netns.host import SocketAddress
from earwitness.version import __version__

PRODUCT = f"earwitness/{__version__}"
ALLOW = "INVITE, ACK, CANCEL, BYE, OPTIONS"
DEFAULT_PORT = 5060
MOST_LOGGED = 2000
"""SIP messages that a phone logs per call,"""
LONGEST_LOGGED = 8192
"""characters logged of each,"""
MOST_LOGGED_CHARACTERS = 1 << 20
"""and characters logged in total."""
_MAGIC_COOKIE = "z9hG4bK"

REASONS = {
    100: "Trying",
    180: "Ringing",
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
    405: "Method Not Allowed",
    420: "Bad Extension",
    480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist",
    486: "Busy Here",
    487: "Request Terminated",
    488: "Not Acceptable Here",
    500: "Server Internal Error",
    603: "Decline",
}


@dataclass(frozen=True)
class SipLogEntry:
    """One SIP message that the phone sent or received; credentials are removed from `text`."""

    at_ns: int
    """ns on the call's clock."""
    sent: bool
    peer: str
    text: str

    @property
    def first_line(self) -> str:
        """Request line or status line."""
        return self.text.partition("\r\n")[0]


def new_branch() -> str:
    """Return a unique branch (RFC 3261 8.1.1.7)."""
    return _MAGIC_COOKIE + secrets.token_hex(10)


def new_tag() -> str:
    """Return a new dialog tag (RFC 3261 19.3)."""
    return secrets.token_hex(6)


class SipLog(list[SipLogEntry]):
    """The messages of a call, in order, up to a limit: an unauthenticated peer can send any number."""

    def __init__(self) -> None:
        super().__init__()
        self._characters = 0

    def note(self, at_ns: int, sent: bool, peer: str, wire: bytes) -> None:
        """Log a message without its credentials, unless the log is full."""
        if len(self) < MOST_LOGGED and self._characters < MOST_LOGGED_CHARACTERS:
            entry = SipLogEntry(at_ns, sent, peer, redacted(wire)[:LONGEST_LOGGED])
            self._characters += len(entry.text)
            self.append(entry)


def redacted(message: bytes) -> str:
    """Return the message as text, with credentials and challenges replaced."""
    text = message.decode("utf-8", errors="replace")
    return re.sub(r"(?im)^((?:proxy-)?authorization|(?:www|proxy)-authenticate):.*$", r"\1: (left out)\r", text)


def request(method: str, uri: str, local: SocketAddress) -> SipRequest:
    """Make a request with Via (RFC 3581 rport), Max-Forwards and User-Agent; the caller adds the rest."""
    made = SipRequest(method=method, uri=uri)
    made.headers.append("Via", f"SIP/2.0/UDP {local[0]}:{local[1]};rport;branch={new_branch()}")
    made.headers.set_single("Max-Forwards", "70")
    made.headers.set_single("User-Agent", PRODUCT)
    return made


def response(to: SipRequest, status: int, tag: str = "") -> SipResponse:
    """Make a response to a request (RFC 3261 8.2.6.2), with Via, From, To, Call-ID, CSeq and Record-Route copied.

    `tag` is added to To if that has none. Record-Route is copied into responses that can create a dialog (12.1.1).
    """
    made = SipResponse(status_code=status, reason_phrase=REASONS.get(status, "Response"))
    for name in ("Via", "Record-Route") if 100 < status < 300 else ("Via",):
        for value in to.headers.get(name):
            made.headers.append(name, value)
    for name in ("From", "To", "Call-ID", "CSeq"):
        made.headers.set_single(name, to.headers.get_first(name) or "")
    address = to.to_addr
    if tag and address is not None and address.tag is None:
        made.headers.set_single("To", f"{to.headers.get_first('To')};tag={tag}")
    made.headers.set_single("Server", PRODUCT)
    return made


def branch_of(message: SipRequest | SipResponse) -> str:
    """Return the branch of the top Via, or the empty string."""
    via = message.headers.get_first("via")
    return (parse_via(via).branch or "") if via else ""


def mark_source(received: SipRequest, source: SocketAddress) -> None:
    """Record in the top Via where a request came from (RFC 3261 18.2.1, RFC 3581 4)."""
    values = received.headers.get("via")
    top = parse_via(values[0])
    if top.host != source[0] or "rport" in top.params:
        top.received = source[0]
    if "rport" in top.params:
        top.rport = str(source[1])
    values[0] = stringify_via(top)


def response_target(received: SipRequest, source: SocketAddress) -> SocketAddress:
    """Return where the response to a request goes (RFC 3261 18.2.2, RFC 3581 4): only to the request's source."""
    top = parse_via(received.headers.get("via")[0])
    return source[0], source[1] if "rport" in top.params or top.rport else top.port or DEFAULT_PORT


def endpoint_of(uri: str, *, numeric: bool = False) -> SocketAddress:
    """Return the address and port of a SIP URI. OSError if it is not one, or its name does not resolve.

    `numeric`: names are not resolved, which would block the event loop.
    """
    try:
        parsed = parse_uri(uri)
        host = str(parsed.params.get("maddr") or parsed.host)
        port = parsed.port or DEFAULT_PORT
        flags = socket.AI_NUMERICHOST if numeric else 0
        family = socket.getaddrinfo(host, port, socket.AF_INET, socket.SOCK_DGRAM, flags=flags)
    except (AttributeError, IndexError, OverflowError, ValueError) as error:
        raise OSError(f"{uri[:100]!a} is not a SIP address") from error
    return str(family[0][4][0]), port
