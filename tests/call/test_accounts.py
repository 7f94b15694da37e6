"""Accounts at a SIP server of the user's, from the environment or a file; no part of a password in any error."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from earwitness.call.accounts import SipService, sip_service
from earwitness.call.plan import CallPlan
from earwitness.errors import InputError

WHOLE = """[caller]
user = "anna"
password = "first secret"
[callee]
user = "bert"
password = "second secret"
"""


def service(**plan: Any) -> SipService:
    async def run() -> SipService:
        # A server of the user's own needs nothing of the path.
        async with sip_service(CallPlan(sip_server="192.0.2.7:5080", **plan), None, Path()) as found:  # type: ignore[arg-type]
            return found

    return asyncio.run(run())


def written(folder: Path, text: str, mode: int = 0o600) -> str:
    file = folder / "accounts.toml"
    file.write_text(text)
    file.chmod(mode)
    return str(file)


def test_accounts_from_a_file(tmp_path: Path) -> None:
    accounts = service(sip_accounts=written(tmp_path, WHOLE)).accounts
    assert {end: (account.user, account.password) for end, account in accounts.items()} == {
        "caller": ("anna", "first secret"),
        "callee": ("bert", "second secret"),
    }
    assert (accounts["caller"].host, accounts["caller"].port) == ("192.0.2.7", 5080)
    assert "secret" not in repr(accounts)


def test_the_file_is_preferred_to_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for end in ("CALLER", "CALLEE"):
        monkeypatch.setenv(f"EARWITNESS_SIP_{end}_USER", "other")
        monkeypatch.setenv(f"EARWITNESS_SIP_{end}_PASSWORD", "other")
    assert service().accounts["caller"].user == "other"
    assert service(sip_accounts=written(tmp_path, WHOLE)).accounts["caller"].user == "anna"


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        (WHOLE, 0o644, "chmod 600"),
        (WHOLE.replace('"first secret"', "first secret"), 0o600, "not TOML"),
        (WHOLE.replace("callee", "calee"), 0o600, "[calee]"),
        (WHOLE.replace('user = "bert"', "user = 5"), 0o600, "no text"),
        (WHOLE.partition("[callee]")[0], 0o600, "the callee's account is not given"),
    ],
)
def test_a_file_that_is_not_as_it_should_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, mode: int, said: str
) -> None:
    with pytest.raises(InputError) as caught:
        service(sip_accounts=written(tmp_path, text, mode))
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)


def test_accounts_without_a_server_are_refused() -> None:
    with pytest.raises(InputError, match="no SIP server to register at"):
        CallPlan(sip_accounts="accounts.toml")


@pytest.mark.parametrize("server", [":5060", "192.0.2.7:sip", "192.0.2.7:0", "192.0.2.7:99999", "192.0.2.7:\u00b2"])
def test_a_server_s_address_that_cannot_be_one_is_told_before_the_call(server: str) -> None:
    with pytest.raises(InputError, match="HOST"):
        CallPlan(sip_server=server)
