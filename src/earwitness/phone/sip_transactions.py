"""SIP transactions over UDP: retransmission, matching and time-outs. Source: RFC 3261 17 and 18."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from aiosipua import SipMessage, SipRequest, SipResponse

from earwitness.netns.host import SocketAddress
from earwitness.phone.reachable import Reach, Unreachable
from earwitness.phone.sip_wire import (
    SipLog,
    branch_of,
    mark_source,
    request,
    response_target,
)

T2_S = 4.0
MOST_TRANSACTIONS = 64
"""Limit of concurrent server transactions; further requests are dropped, as by a congested network."""


class NoResponse(Exception):
    """No final response arrived within 64 x T1 (timers B and F)."""


@dataclass(frozen=True)
class Timers:
    """RFC 3261 table 4. `t1_s` is the estimate of the round-trip time."""

    t1_s: float = 0.5

    @property
    def give_up_s(self) -> float:
        """Timers B, F, H and J."""
        return 64 * self.t1_s


class ClientTransaction:
    """A request of ours, until its final response (RFC 3261 17.1)."""

    def __init__(self, layer: SipTransactions, sent: SipRequest, target: SocketAddress) -> None:
        self.request = sent
        self.target = target
        self.final: asyncio.Future[SipResponse] = asyncio.get_running_loop().create_future()
        self.final.add_done_callback(lambda done: done.cancelled() or done.exception())  # it need not be awaited
        self.on_provisional: Callable[[SipResponse], None] = lambda _response: None
        self.on_repeated_success: Callable[[], None] = lambda: None
        self.retransmissions = 0
        self.proceeding = False
        """Whether a provisional response has arrived."""
        self._layer = layer
        self._wire = bytes(sent)
        self._is_invite = sent.method == "INVITE"
        self._ack: bytes | None = None
        self._interval_s = layer.timers.t1_s
        layer.transmit(self._wire, target)
        self._timer = layer.later(self._interval_s, self._retransmit)
        self._expiry = layer.later(layer.timers.give_up_s, self._expire)

    def receive(self, response: SipResponse) -> None:
        """Take a response with this transaction's branch."""
        if response.status_code < 200:
            self.proceeding = True
            if self._is_invite:
                self._timer.cancel()
                self._expiry.cancel()  # timer B awaits any response; the user agent limits the ringing
            self.on_provisional(response)
            return
        self._timer.cancel()
        self._expiry.cancel()
        if self._is_invite and response.status_code >= 300:
            if self._ack is None:
                self._ack = bytes(self._non_success_ack(response))
            self._layer.transmit(self._ack, self.target)
        if self.final.done():
            if self._is_invite and response.status_code < 300:
                self.on_repeated_success()
            return
        self.final.set_result(response)
        self._layer.later(self._layer.timers.give_up_s, lambda: self._layer.forget(self))

    def stop(self) -> None:
        """Stop retransmitting and await nothing."""
        self._timer.cancel()
        self._expiry.cancel()

    def _retransmit(self) -> None:
        self.retransmissions += 1
        self._layer.transmit(self._wire, self.target)
        limit = float("inf") if self._is_invite else T2_S
        self._interval_s = T2_S if self.proceeding and not self._is_invite else min(2 * self._interval_s, limit)
        self._timer = self._layer.later(self._interval_s, self._retransmit)

    def _expire(self) -> None:
        self._timer.cancel()
        if not self.final.done():
            self.final.set_exception(NoResponse(f"{self.request.method} had no response"))
        self._layer.forget(self)

    def _non_success_ack(self, response: SipResponse) -> SipRequest:
        """Return the ACK of a refusal: same branch, target and route as the INVITE (RFC 3261 17.1.1.3)."""
        ack = SipRequest(method="ACK", uri=self.request.uri)
        ack.headers.append("Via", self.request.headers.get("Via")[0])
        for route in self.request.headers.get("Route"):
            ack.headers.append("Route", route)
        for name in ("From", "Call-ID", "Max-Forwards"):
            ack.headers.set_single(name, self.request.headers.get_first(name) or "")
        ack.headers.set_single("To", response.headers.get_first("To") or "")
        sequence = self.request.cseq
        ack.headers.set_single("CSeq", f"{sequence.seq if sequence else 0} ACK")
        return ack


class ServerTransaction:
    """A received request and our responses (RFC 3261 17.2)."""

    def __init__(self, layer: SipTransactions, received: SipRequest, source: SocketAddress) -> None:
        self.request = received
        self.final_status: int | None = None
        self.on_unacknowledged: Callable[[], None] = lambda: None
        self._layer = layer
        self._target = response_target(received, source)
        self._last: bytes | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._expiry: asyncio.TimerHandle | None = None
        self._interval_s = layer.timers.t1_s

    def respond(self, response: SipResponse) -> None:
        """Send a response; the final one to an INVITE is retransmitted until acknowledged (13.3.1.4, 17.2.1)."""
        if self.final_status is not None:
            return
        self._last = bytes(response)
        self._layer.transmit(self._last, self._target)
        if response.status_code >= 200:
            self.final_status = response.status_code
            if self.request.method == "INVITE":
                self._timer = self._layer.later(self._interval_s, self._repeat)
            self._expiry = self._layer.later(self._layer.timers.give_up_s, self._expire)

    def received_again(self) -> None:
        """Take a retransmission of the request: resend our last response."""
        if self._last is not None:
            self._layer.transmit(self._last, self._target)

    def acknowledged(self) -> None:
        """Take the ACK."""
        for timer in (self._timer, self._expiry):
            if timer is not None:
                timer.cancel()
        self._expiry = self._layer.later(self._layer.timers.give_up_s, lambda: self._layer.forget(self))

    def _repeat(self) -> None:
        self.received_again()
        self._interval_s = min(2 * self._interval_s, T2_S)
        self._timer = self._layer.later(self._interval_s, self._repeat)

    def _expire(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self.on_unacknowledged()
        self._layer.forget(self)


class SipTransactions(asyncio.DatagramProtocol):
    """The transaction layer on one UDP socket. `on_request` gets each new request (including the ACK of a 200)."""

    def __init__(self, timers: Timers, clock: Callable[[], int], reach: Reach | None = None) -> None:
        """`reach`: the addresses that it sends to and accepts from; None: all."""
        self.reach = reach
        self.timers = timers
        self.clock = clock
        self.local: SocketAddress = ("0.0.0.0", 0)
        self.on_request: Callable[[ServerTransaction], None] = lambda _transaction: None
        self.on_ack: Callable[[SipRequest], None] = lambda _ack: None
        self.log = SipLog()
        self.malformed = 0
        self.dropped = 0
        """Datagrams from outside `reach`, requests beyond `MOST_TRANSACTIONS`, and messages not sent because their
        destination is outside `reach`."""
        self._transport: asyncio.DatagramTransport | None = None
        self._clients: dict[tuple[str, str], ClientTransaction] = {}
        self._servers: dict[tuple[str, str], ServerTransaction] = {}
        self._handles: set[asyncio.TimerHandle] = set()

    def send(self, message: SipRequest, target: SocketAddress) -> ClientTransaction:
        """Send a request (not ACK) and match its responses."""
        transaction = ClientTransaction(self, message, target)
        self._clients[branch_of(message), message.method] = transaction
        return transaction

    def new_request(self, method: str, uri: str) -> SipRequest:
        """Make a request from our address."""
        return request(method, uri, self.local)

    def transmit(self, wire: bytes, target: SocketAddress) -> None:
        """Send a message and log it."""
        if self._transport is None or self._transport.is_closing():
            return
        try:
            self.may_send_to(target)
        except Unreachable:
            self.dropped += 1
            return
        self._note(True, target, wire)
        self._transport.sendto(wire, target)

    def may_send_to(self, target: SocketAddress) -> SocketAddress:
        """Return the target if this phone may send to it. Raises `Unreachable`."""
        return target if self.reach is None else self.reach.check(target)

    def later(self, seconds: float, action: Callable[[], None]) -> asyncio.TimerHandle:
        """Run `action` after `seconds`, unless the layer is closed before."""
        loop = asyncio.get_running_loop()

        def act() -> None:
            self._handles.discard(handle)
            action()

        handle = loop.call_later(seconds, act)
        self._handles = {one for one in self._handles if not one.cancelled()} | {handle}
        return handle

    def forget(self, transaction: ClientTransaction | ServerTransaction) -> None:
        """Remove a finished transaction."""
        table = self._clients if isinstance(transaction, ClientTransaction) else self._servers
        for key in [key for key, one in table.items() if one is transaction]:
            del table[key]

    def server_of_same_branch(self, cancel: SipRequest) -> ServerTransaction | None:
        """Return the transaction of the INVITE that a CANCEL refers to (RFC 3261 9.2)."""
        return self._servers.get((branch_of(cancel), "INVITE"))

    def close(self) -> None:
        """Stop all timers and close the socket."""
        for handle in self._handles:
            handle.cancel()
        for transaction in self._clients.values():
            if not transaction.final.done():
                transaction.final.cancel()
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is ready."""
        self._transport = cast(asyncio.DatagramTransport, transport)
        self.local = transport.get_extra_info("sockname")[:2]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Take a datagram; malformed SIP is counted, keep-alives (RFC 5626 4.4.1) are ignored."""
        if not data.strip(b"\r\n\0 "):
            return
        if self.reach is not None and not self.reach.hears(addr[0]):
            self.dropped += 1
            return
        self._note(False, addr, data)
        try:
            message = SipMessage.parse(data)
            complete = all(message.headers.get(name) for name in ("via", "from", "to", "call-id", "cseq"))
            if not complete or message.cseq is None:
                raise ValueError("a mandatory header is missing")
            if isinstance(message, SipRequest):
                self._receive_request(message, (addr[0], addr[1]))
            else:
                self._receive_response(message)
        except Exception:  # a message that breaks a parser must affect nothing else
            self.malformed += 1

    def _receive_request(self, received: SipRequest, source: SocketAddress) -> None:
        branch = branch_of(received)
        if received.method == "ACK":
            refused = self._servers.get((branch, "INVITE"))
            if refused is not None and (refused.final_status or 0) >= 300:
                refused.acknowledged()
            else:
                self.on_ack(received)
            return
        known = self._servers.get((branch, received.method))
        if known is not None:
            known.received_again()
            return
        if len(self._servers) >= MOST_TRANSACTIONS:
            self.dropped += 1
            return
        mark_source(received, source)
        transaction = ServerTransaction(self, received, source)
        self._servers[branch, received.method] = transaction
        self.on_request(transaction)

    def _receive_response(self, received: SipResponse) -> None:
        sequence = received.cseq
        transaction = self._clients.get((branch_of(received), sequence.method if sequence else ""))
        if transaction is not None:
            transaction.receive(received)

    def _note(self, sent: bool, peer: SocketAddress, wire: bytes) -> None:
        self.log.note(self.clock(), sent, f"{peer[0]}:{peer[1]}", wire)
