"""Digest authentication of SIP requests. Source: RFC 3261 22, RFC 7616; the arithmetic is aiosipua's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from aiosipua import SipDigestAuth, SipRequest, SipResponse, build_credentials, parse_auth, stringify_auth

from earwitness.errors import CallFailure, Outcome
from earwitness.netns.host import SocketAddress
from earwitness.phone.sip_transactions import ClientTransaction

_ATTEMPTS = 3
"""Without credentials, with them, and with a fresh nonce if the server reports ours as stale."""


@dataclass(frozen=True)
class SipAccount:
    """A phone's account at a SIP server. The password is never shown."""

    user: str
    domain: str
    server: SocketAddress
    password: str = field(repr=False)


async def send_authenticated(
    build: Callable[[], SipRequest],
    send: Callable[[SipRequest], ClientTransaction],
    account: SipAccount | None,
    tried: str,
) -> SipResponse:
    """Send the request that `build` makes for each attempt, answer a challenge, and return the final response.

    A refused password is not retried: CallFailure AUTH_FAILED. Without an account, the challenge itself is the
    response. Raises NoResponse.
    """
    credentials: tuple[str, str] | None = None
    for _ in range(_ATTEMPTS):
        made = build()
        if credentials is not None:
            made.headers.set_single(*credentials)
        transaction = send(made)
        answer = await asyncio.shield(transaction.final)
        if answer.status_code not in (401, 407) or account is None:
            return answer
        ours = "" if answer.status_code == 401 else "Proxy-"
        challenge = parse_auth(answer.headers.get_first("Proxy-Authenticate" if ours else "WWW-Authenticate") or "")
        if credentials is not None and challenge.params.get("stale", "").lower() != "true":
            break
        login = SipDigestAuth(account.user, account.password)
        answered = build_credentials(login, challenge, made.method, made.uri)
        if answered is None:
            raise _refused(tried, account, f"a challenge that cannot be answered ({challenge.scheme or 'none'})")
        credentials = (f"{ours}Authorization", stringify_auth(answered))
    raise _refused(tried, account, "the credentials were refused")


def _refused(tried: str, account: SipAccount | None, happened: str) -> CallFailure:
    on = "SIP server" if account is None else f"{account.server[0]}:{account.server[1]} as {account.user}"
    return CallFailure(Outcome.AUTH_FAILED, tried, on=on, happened=happened, remedy="check the user and password")
