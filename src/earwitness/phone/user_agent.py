"""A SIP user agent for one call at a time: REGISTER, INVITE both ways, ACK, BYE, CANCEL, OPTIONS; digest.

Source: RFC 3261 8 to 15 and 22. Methods return a value or raise a `CallFailure` with a typed outcome.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from contextlib import suppress

from aiosipua import SipRequest, SipResponse

from earwitness.errors import CallFailure, Outcome
from earwitness.netns.host import SocketAddress
from earwitness.phone.sip_dialog import Dialog
from earwitness.phone.sip_digest import SipAccount, send_authenticated
from earwitness.phone.sip_transactions import (
    ClientTransaction,
    NoResponse,
    SipTransactions,
)
from earwitness.phone.sip_wire import ALLOW, endpoint_of, new_tag
from earwitness.phone.user_agent_server import UserAgentServer

_CANCEL_PATIENCE_S = 3.0
NOBODY_THERE = (404, 408, 410, 480, 487, 604)
"""Status codes that mean no answer (unknown or unregistered user, time-out in a proxy, not available)."""


class UserAgent(UserAgentServer):
    """One phone's SIP: it answers requests and sends its own (RFC 3261 8.1: user agent client)."""

    def __init__(self, layer: SipTransactions, user: str, account: SipAccount | None) -> None:
        super().__init__(layer, user)
        self.account = account
        self._registration = secrets.token_hex(12)
        self._register_sequence = 0

    @property
    def uri(self) -> str:
        """Our address of record or, without a server, our contact address."""
        if self.account is not None:
            return f"sip:{self.account.user}@{self.account.domain}"
        return self.contact_uri

    async def register(self, expires_s: int = 600) -> None:
        """REGISTER with digest; `expires_s` 0 removes the binding. CallFailure AUTH_FAILED or REGISTER_FAILED."""
        account = self.account
        if account is None:
            raise ValueError("a phone without an account cannot register")

        def build() -> SipRequest:
            self._register_sequence += 1
            made = self.layer.new_request("REGISTER", f"sip:{account.domain}")
            made.headers.set_single("From", f"<{self.uri}>;tag={new_tag()}")
            made.headers.set_single("To", f"<{self.uri}>")
            made.headers.set_single("Call-ID", self._registration)
            made.headers.set_single("CSeq", f"{self._register_sequence} REGISTER")
            made.headers.set_single("Contact", f"<{self.contact_uri}>")
            made.headers.set_single("Expires", str(expires_s))
            return made

        server = f"SIP server {account.server[0]}:{account.server[1]}"
        try:
            answer = await self._authenticated(build, account.server, "registering")
        except NoResponse as error:
            raise CallFailure(
                Outcome.REGISTER_FAILED,
                "registering",
                on=server,
                happened="it did not answer",
                remedy="check that it runs",
            ) from error
        if answer.status_code >= 300:
            raise CallFailure(
                Outcome.AUTH_FAILED if answer.status_code == 403 else Outcome.REGISTER_FAILED,
                "registering",
                on=server,
                happened=f"{answer.status_code} {answer.reason_phrase}",
                remedy="check the user and password, and what the server permits",
            )

    async def invite(
        self,
        uri: str,
        offer: str,
        timeout_s: float,
        on_provisional: Callable[[SipResponse], None],
        on_sending: Callable[[], None],
    ) -> SipResponse:
        """Call `uri`; return the acknowledged 2xx, with its dialog in `dialog`. CallFailure for any other outcome.

        No answer within `timeout_s` is NO_ANSWER, after a CANCEL; a late 200 is acknowledged and hung up.
        """
        account = self.account
        call_id, tag, sequence = secrets.token_hex(12), new_tag(), 0
        target = self.layer.may_send_to(account.server if account is not None else endpoint_of(uri))

        def build() -> SipRequest:
            nonlocal sequence
            sequence += 1
            made = self.layer.new_request("INVITE", uri)
            made.headers.set_single("From", f"<{self.uri}>;tag={tag}")
            made.headers.set_single("To", f"<{uri}>")
            made.headers.set_single("Call-ID", call_id)
            made.headers.set_single("CSeq", f"{sequence} INVITE")
            made.headers.set_single("Contact", f"<{self.contact_uri}>")
            made.headers.set_single("Allow", ALLOW)
            made.headers.set_single("Content-Type", "application/sdp")
            made.text = offer
            on_sending()
            return made

        pending: list[ClientTransaction] = []
        try:
            answer = await asyncio.wait_for(
                self._authenticated(build, target, "calling", on_provisional, pending), timeout_s
            )
        except (TimeoutError, NoResponse) as error:
            await self._cancel(pending[-1])
            raise CallFailure(
                Outcome.NO_ANSWER,
                "calling",
                on=uri,
                happened=f"no answer within {timeout_s:g} s",
                remedy="check that the callee's phone runs and that the path carries UDP",
            ) from error
        except asyncio.CancelledError:
            if pending:
                await self._cancel(pending[-1])
            raise
        if answer.status_code >= 300:
            raise CallFailure(
                Outcome.NO_ANSWER if answer.status_code in NOBODY_THERE else Outcome.CALL_REJECTED,
                "calling",
                on=uri,
                happened=f"refused with {answer.status_code} {answer.reason_phrase}",
                remedy="see the callee's log for its reason",
                evidence={"status": answer.status_code},
            )
        try:
            self._confirm(pending[-1], answer)
        except (OSError, ValueError) as error:
            raise CallFailure(
                Outcome.CALL_REJECTED,
                "calling",
                on=uri,
                happened=f"its answer directs further requests to a forbidden address: {error}",
                remedy="see the SIP dialog in the evidence, and ask the operator of the other phone",
            ) from error
        return answer

    async def bye(self, timeout_s: float) -> int | None:
        """Hang up; return the status of the response, None if none arrived in time."""
        dialog, self.dialog = self.dialog, None
        if dialog is None:
            return None
        target: SocketAddress = ("", 0)

        def build() -> SipRequest:
            nonlocal target
            made, target = dialog.request(self.layer, "BYE")
            return made

        try:
            first = build()
        except (OSError, ValueError):
            return None  # its destination is one that this phone does not send to
        prepared = [first]
        try:
            answer = await asyncio.wait_for(
                self._authenticated(lambda: prepared.pop() if prepared else build(), target, "hanging up"), timeout_s
            )
        except (TimeoutError, NoResponse, OSError):
            return None
        return answer.status_code

    async def _authenticated(
        self,
        build: Callable[[], SipRequest],
        target: SocketAddress,
        tried: str,
        on_provisional: Callable[[SipResponse], None] = lambda _response: None,
        pending: list[ClientTransaction] | None = None,
    ) -> SipResponse:
        def send(made: SipRequest) -> ClientTransaction:
            transaction = self.layer.send(made, target)
            transaction.on_provisional = on_provisional
            if pending is not None:
                pending.append(transaction)
            return transaction

        return await send_authenticated(build, send, self.account, tried)

    def _confirm(self, transaction: ClientTransaction, success: SipResponse) -> None:
        dialog = Dialog.of_caller(transaction.request, success)
        dialog.check(self.layer)
        transaction.on_repeated_success = lambda: dialog.acknowledge(self.layer)
        dialog.acknowledge(self.layer)
        self.dialog = dialog

    async def _cancel(self, transaction: ClientTransaction) -> None:
        """Give up an INVITE (RFC 3261 9.1): CANCEL after a provisional response; a 200 meanwhile is hung up."""
        cancel_sent = False

        def cancel(_response: SipResponse | None = None) -> None:
            nonlocal cancel_sent
            if not cancel_sent:
                cancel_sent = True
                self.layer.send(_cancel_of(transaction.request), transaction.target)

        if transaction.final.done() and transaction.final.exception() is not None:
            return
        if transaction.proceeding:
            cancel()
        transaction.on_provisional = cancel
        patience_s = _CANCEL_PATIENCE_S if transaction.proceeding else self.layer.timers.t1_s
        try:
            answer = await asyncio.wait_for(asyncio.shield(transaction.final), patience_s)
        except (TimeoutError, NoResponse):
            transaction.stop()
            return
        if answer.status_code < 300:
            with suppress(OSError, ValueError):
                self._confirm(transaction, answer)
                await self.bye(_CANCEL_PATIENCE_S)


def _cancel_of(invite: SipRequest) -> SipRequest:
    """Make the CANCEL of an INVITE: same URI, top Via, From, To, Call-ID, CSeq number and Route (RFC 3261 9.1)."""
    made = SipRequest(method="CANCEL", uri=invite.uri)
    made.headers.append("Via", invite.headers.get("Via")[0])
    for route in invite.headers.get("Route"):
        made.headers.append("Route", route)
    for name in ("Max-Forwards", "From", "To", "Call-ID", "User-Agent"):
        made.headers.set_single(name, invite.headers.get_first(name) or "")
    made.headers.set_single("CSeq", f"{invite.cseq.seq if invite.cseq else 0} CANCEL")
    return made
