"""What the capture of a call made by hand tells."""

from __future__ import annotations

import pytest

from earwitness.call.plan import CallPlan
from earwitness.errors import InputError
from earwitness.phone.manual import sip_milestones
from earwitness.trace.sdp import SipMessage

HERE, THERE = "10.0.0.1", "10.0.0.2"


def message(at: int, method: str, status: int = 0, *, out: bool = True, call_id: str = "a") -> SipMessage:
    """One at the end HERE."""
    source, destination = (HERE, THERE) if out else (THERE, HERE)
    return SipMessage(at, source, destination, method, status, call_id, (), False)


DIALOGUE = [
    message(1, "INVITE"),
    message(2, "INVITE"),  # sent again
    message(3, "INVITE", 100, out=False),
    message(4, "INVITE", 180, out=False),
    message(5, "INVITE", 200, out=False),
    message(6, "ACK"),
    message(7, "BYE", out=False),
    message(8, "BYE", 200),
]


def test_the_caller() -> None:
    assert sip_milestones(DIALOGUE, HERE) == {
        "invite_sent": 1,
        "first_provisional": 4,
        "answered": 5,
        "ack": 6,
        "bye": 7,
        "ended": 8,
    }


def test_the_callee() -> None:
    marks = sip_milestones(DIALOGUE, THERE)
    assert marks["invite_received"] == 1
    assert "invite_sent" not in marks


def test_the_attempt_that_was_answered_counts() -> None:
    refused = [message(-3, "INVITE", call_id="b"), message(-2, "INVITE", 486, out=False, call_id="b")]
    refused.append(message(-1, "ACK", call_id="b"))
    assert sip_milestones([*refused, *DIALOGUE], HERE) == sip_milestones(DIALOGUE, HERE)
    assert sip_milestones(refused, HERE) == {"invite_sent": -3}
    assert sip_milestones([message(1, "REGISTER")], HERE) == {}


def test_nothing_is_asked_of_it_that_only_a_phone_of_ours_can() -> None:
    assert CallPlan(phone="manual").wait_s == 120
    with pytest.raises(InputError, match="SIP server"):
        CallPlan(phone="manual", sip_server="lab")
    with pytest.raises(InputError, match="3601"):
        CallPlan(phone="manual", wait_s=3601)
