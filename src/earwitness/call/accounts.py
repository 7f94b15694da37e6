"""The SIP server of a call and both ends' accounts there: Kamailio started for the call, or the user's own server.

Passwords come from the environment or a file, or are made for the call. Phones read them from standard input; they
are never written to disk.
"""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from earwitness.call.measurement_point import MeasurementPoint
from earwitness.call.plan import LAB_SERVER, CallPlan, sip_address
from earwitness.errors import InputError
from earwitness.files import read_text
from earwitness.path.base import PhonePorts
from earwitness.phone.lab_server import ENDS
from earwitness.phone.setup import SipServer
from earwitness.toml import parse_toml

CALLEE_BESIDE_SERVER_PORT = 5070
"""The callee's SIP port if the server uses the default port at the same address."""


@dataclass(frozen=True)
class SipService:
    """How the ends reach each other: each end's account (none without a server) and SIP port."""

    accounts: Mapping[str, SipServer] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)

    def port(self, end: str) -> int:
        """The SIP port of one end's phone."""
        return self.ports.get(end, PhonePorts().sip)


@asynccontextmanager
async def sip_service(plan: CallPlan, callee: MeasurementPoint, scratch: Path) -> AsyncIterator[SipService]:
    """The SIP server that the plan requests, as seen over the open path.

    The lab's server is at the callee's end of the path, as the study's was at the server's end of the tunnel. Raises
    `InputError` if an account at the user's server is missing or the file of accounts is invalid, `CallFailure` if
    Kamailio does not start.
    """
    if not plan.sip_server:
        yield SipService()
        return
    given = _accounts_in(Path(plan.sip_accounts)) if plan.sip_accounts else {end: _given_account(end) for end in ENDS}
    if plan.sip_server != LAB_SERVER:
        if missing := [end for end in ENDS if given[end] is None]:
            name = f"EARWITNESS_SIP_{missing[0].upper()}"
            raise InputError(
                "registering at",
                plan.sip_server,
                f"the {missing[0]}'s account is not given",
                f"set {name}_USER and {name}_PASSWORD in the environment, or a file as {{sip_accounts}}",
                field="sip_server",
                related=("sip_accounts",),
            )
        host, port = sip_address(plan.sip_server)
        known = {end: account for end, account in given.items() if account is not None}
        yield SipService({end: SipServer(host, *account, port=port) for end, account in known.items()})
        return
    async with callee.lab_server(scratch, relay=plan.sip_relay) as server:
        # The user's password is used unchecked, so that the server's refusal of a wrong one shows in the record.
        accounts = {name: given[name] or (name, server.passwords[name]) for name in ENDS}
        yield SipService(
            {
                name: SipServer(server.address, user, password, port=server.port, domain=server.domain)
                for name, (user, password) in accounts.items()
            },
            {"callee": CALLEE_BESIDE_SERVER_PORT},
        )


def _given_account(end: str) -> tuple[str, str] | None:
    """User and password of one end from the environment, if both are set."""
    user, password = (os.environ.get(f"EARWITNESS_SIP_{end.upper()}_{what}") for what in ("USER", "PASSWORD"))
    return (user, password) if user and password is not None else None


def _accounts_in(file: Path) -> dict[str, tuple[str, str] | None]:
    """User and password of each end from a TOML file (`[caller]` and `[callee]`, each with `user` and `password`)."""
    tried = ("reading the accounts in", file)
    remedy = "give [caller] and [callee], each with user and password in quotes"
    try:
        if stat.S_IMODE(file.stat().st_mode) & 0o077:
            raise InputError(*tried, "others may read the passwords in it", f"run `chmod 600 {file}`")
        given = parse_toml(read_text(file))
    except OSError as error:
        raise InputError(*tried, error.strerror, "give a file that can be read") from error
    except ValueError as error:
        # The parser's message may quote a line that contains a password.
        raise InputError(*tried, f"not TOML ({type(error).__name__})", remedy) from error
    accounts: dict[str, tuple[str, str] | None] = dict.fromkeys(ENDS)
    for end in given:
        account = given[end]
        if end not in ENDS or not isinstance(account, dict) or account.keys() != {"user", "password"}:
            raise InputError(*tried, f"[{end}] is not a valid account", remedy)
        user, password = account["user"], account["password"]
        if not (isinstance(user, str) and user and isinstance(password, str)):
            raise InputError(*tried, f"[{end}] has a user or a password that is no text", remedy)
        accounts[end] = (user, password)
    return accounts
