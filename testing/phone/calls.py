"""What the tests of calls between phones share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from earwitness.phone.call_report import PhoneReport
from earwitness.phone.setup import PhoneSetup

NewHost = Callable[[str], Any]
SetupOf = Callable[..., PhoneSetup]


def run(scenario: Coroutine[Any, Any, Any], timeout_s: float = 60.0) -> Any:
    return asyncio.run(asyncio.wait_for(scenario, timeout_s))


def every_request_was_answered(report: PhoneReport) -> None:
    """Each request but ACK has a final response in the other direction, and each final to INVITE an ACK."""
    finals, asked = set(), set()
    for entry in report.sip:
        fields = dict(line.split(": ", 1) for line in entry.text.split("\r\n\r\n")[0].split("\r\n")[1:])
        number, method = fields["CSeq"].split()
        if not entry.first_line.startswith("SIP/2.0"):
            asked.add((entry.sent, number, method))
        elif not entry.first_line.startswith("SIP/2.0 1"):
            finals.add((not entry.sent, number, method))
    requests = {one for one in asked if one[2] != "ACK"}
    assert requests == finals
    acks = {(sent, number) for sent, number, method in asked if method == "ACK"}
    assert acks == {(sent, number) for sent, number, method in requests if method == "INVITE"}
