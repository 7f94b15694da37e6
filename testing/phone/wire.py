"""SIP without a network: messages, and what stands in the place of a socket."""

from __future__ import annotations

from aiosipua import SipMessage, SipRequest, SipResponse


class Wire:
    """In the place of a socket: keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[SipRequest | SipResponse, tuple[str, int]]] = []

    def sendto(self, data: bytes, target: tuple[str, int]) -> None:
        self.sent.append((SipMessage.parse(data), target))

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        pass

    def get_extra_info(self, _name: str) -> tuple[str, int]:
        return ("10.0.0.1", 5060)


def message(first: str, *headers: str, body: str = "") -> bytes:
    base = ["Via: SIP/2.0/UDP 10.0.0.2:5060;branch=z9hG4bKabc;rport", "From: <sip:a@10.0.0.2>;tag=a1"]
    base += ["To: <sip:bob@10.0.0.1>", "Call-ID: one", "Max-Forwards: 70"]
    replaced = {header.split(":")[0] for header in headers}
    kept = [line for line in base if line.split(":")[0] not in replaced]
    return "\r\n".join([first, *kept, *headers, f"Content-Length: {len(body)}", "", body]).encode()


def statuses(wire: Wire) -> list[int]:
    return [sent.status_code for sent, _ in wire.sent if isinstance(sent, SipResponse)]
