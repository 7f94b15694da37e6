"""The answering half of a SIP user agent (RFC 3261 8.2: user agent server), for one call at a time.

It answers INVITE, re-INVITE, ACK, BYE, CANCEL and OPTIONS, and refuses unknown or disallowed requests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from aiosipua import SipRequest

from earwitness.phone.sip_dialog import Dialog, refresh_target
from earwitness.phone.sip_transactions import ServerTransaction, SipTransactions
from earwitness.phone.sip_wire import ALLOW, new_tag, response


@dataclass
class IncomingInvite:
    """An INVITE that awaits our answer."""

    transaction: ServerTransaction
    dialog: Dialog
    tag: str
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    acknowledged: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def offer(self) -> str:
        """Its session description, or the empty string."""
        return self.transaction.request.text


class UserAgentServer:
    """A phone's handling of incoming requests. Callbacks: `on_invite`, `on_ended`, `on_refused`."""

    def __init__(self, layer: SipTransactions, user: str) -> None:
        self.layer = layer
        self.dialog: Dialog | None = None
        self.session_description = ""
        """Our session description, to answer a re-INVITE."""
        self.on_invite: Callable[[IncomingInvite], None] | None = None
        """Called with each incoming call; None: the phone is not available."""
        self.on_ended: Callable[[str], None] = lambda _why: None
        """Called when the other end has hung up, or never acknowledged."""
        self.on_refused: Callable[[str], None] = lambda _why: None
        """Called with the reason when an INVITE is refused here, without involving the phone."""
        self._user = user
        self._incoming: IncomingInvite | None = None
        layer.on_request = self._receive
        layer.on_ack = self._receive_ack

    @property
    def contact_uri(self) -> str:
        """Our contact address."""
        return f"sip:{self._user}@{self.layer.local[0]}:{self.layer.local[1]}"

    def ring(self, call: IncomingInvite) -> None:
        """Send 180."""
        self._respond(call, 180)

    def answer(self, call: IncomingInvite, description: str) -> None:
        """Send 200 with our session description; it is retransmitted until the ACK."""
        self.dialog = call.dialog
        self.session_description = description
        call.transaction.on_unacknowledged = lambda: self.on_ended("the answer was never acknowledged")
        self._respond(call, 200, description)

    def refuse(self, call: IncomingInvite, status: int) -> None:
        """Send a final refusal."""
        self._respond(call, status)
        self._incoming = None

    def forget_call(self) -> None:
        """Forget a call that is over: the phone is free again."""
        self.dialog = None
        self._incoming = None

    def _respond(self, call: IncomingInvite, status: int, description: str = "") -> None:
        made = response(call.transaction.request, status, call.tag)
        made.headers.set_single("Contact", f"<{self.contact_uri}>")
        if status == 200:
            made.headers.set_single("Allow", ALLOW)
            made.headers.set_single("Content-Type", "application/sdp")
            made.text = description
        call.transaction.respond(made)

    def _receive(self, transaction: ServerTransaction) -> None:
        received = transaction.request
        to = received.to_addr
        in_dialog = to is not None and to.tag is not None
        if received.headers.get("Require") and received.method not in ("ACK", "CANCEL"):
            made = response(received, 420, new_tag())
            for option in received.headers.get("Require"):
                made.headers.append("Unsupported", option)
            transaction.respond(made)
        elif received.method == "CANCEL":
            self._receive_cancel(transaction)
        elif in_dialog:
            self._receive_in_dialog(transaction)
        elif received.method == "INVITE":
            self._receive_invite(transaction)
        elif received.method == "OPTIONS":
            made = response(received, 200, new_tag())
            made.headers.set_single("Allow", ALLOW)
            made.headers.set_single("Accept", "application/sdp")
            transaction.respond(made)
        elif received.method == "BYE":
            transaction.respond(response(received, 481, new_tag()))
        else:
            made = response(received, 405, new_tag())
            made.headers.set_single("Allow", ALLOW)
            transaction.respond(made)

    def _receive_invite(self, transaction: ServerTransaction) -> None:
        if self.on_invite is None:
            transaction.respond(response(transaction.request, 480, new_tag()))
        elif self.dialog is not None or self._incoming is not None:
            transaction.respond(response(transaction.request, 486, new_tag()))
        else:
            tag = new_tag()
            try:
                dialog = Dialog.of_callee(transaction.request, tag)
                dialog.check(self.layer)
            except (OSError, ValueError) as error:
                self.on_refused(f"it directs requests to a forbidden address: {error}")
                transaction.respond(response(transaction.request, 403, tag))
                return
            self._incoming = IncomingInvite(transaction, dialog, tag)
            transaction.respond(response(transaction.request, 100))
            self.on_invite(self._incoming)

    def _receive_in_dialog(self, transaction: ServerTransaction) -> None:
        received, dialog = transaction.request, self.dialog
        if dialog is None or not dialog.holds(received):
            transaction.respond(response(received, 481))
            return
        sequence = received.cseq.seq if received.cseq else 0
        if sequence <= dialog.remote_sequence:
            transaction.respond(response(received, 500))
            return
        dialog.remote_sequence = sequence
        if received.method == "BYE":
            transaction.respond(response(received, 200))
            self.forget_call()
            self.on_ended("remote")
        elif received.method == "INVITE":  # a refresh: the session is unchanged
            try:
                refresh_target(dialog, received, self.layer)
            except (OSError, ValueError) as error:
                self.on_refused(f"it directs requests to a forbidden address: {error}")
                transaction.respond(response(received, 403))
                return
            made = response(received, 200)
            made.headers.set_single("Contact", f"<{self.contact_uri}>")
            made.headers.set_single("Content-Type", "application/sdp")
            made.text = self.session_description
            transaction.respond(made)
            dialog.refresh = transaction
        else:
            made = response(received, 200 if received.method == "OPTIONS" else 405)
            made.headers.set_single("Allow", ALLOW)
            transaction.respond(made)

    def _receive_cancel(self, transaction: ServerTransaction) -> None:
        incoming = self._incoming
        received = transaction.request
        if incoming is None or self.layer.server_of_same_branch(received) is not incoming.transaction:
            transaction.respond(response(received, 481, new_tag()))
            return
        transaction.respond(response(received, 200, incoming.tag))
        if incoming.transaction.final_status is None:
            self.refuse(incoming, 487)
            incoming.cancelled.set()

    def _receive_ack(self, ack: SipRequest) -> None:
        dialog = self.dialog
        if dialog is None or not dialog.holds(ack):
            return
        if dialog.refresh is not None:
            dialog.refresh.acknowledged()
        if self._incoming is not None:
            self._incoming.transaction.acknowledged()
            self._incoming.acknowledged.set()
