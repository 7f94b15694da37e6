"""A phone's report may be anybody's: what is none is refused in one line, what is one comes back as it was."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from earwitness.errors import Outcome
from earwitness.phone.builtin import failure_from
from earwitness.phone.call_report import PhoneReport, strange_report
from earwitness.phone.setup import PhoneSetup
from earwitness.untrusted import UntrustedValue, plain, shown
from testing.remote.hostile import REPORT, SETUP, mutated


def with_value(path: str, value: Any) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(json.dumps(REPORT))
    *outer, last = path.split(".")
    inner = report
    for key in outer:
        inner = inner[key]
    inner[last] = value
    return report


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("packets_received", 10**400),
        ("packets_sent", 10**30),
        ("packets_sent", -1),
        ("packets_received", "7"),
        ("packets_received", True),
        ("jitter_ms", float("nan")),
        ("jitter_ms", float("inf")),
        ("jitter_ms", [1.0]),
        ("milestones", {"answered": 10**400}),
        ("milestones", {"answered": 1.5}),
        ("milestones", {"a milestone of my own": 5}),
        ("milestones", [["answered", 5]]),
        ("sending", {"p50_ms": 1.0}),
        ("sending.p99_ms", float("nan")),
        ("sending", 7),
        ("rtcp.round_trips_ms", [1.0] * 100_000),
        ("rtcp.round_trips_ms", [float("nan")]),
        ("rtcp.round_trips_ms", 7),
        ("rtcp", "none"),
        ("sip", [{"at_ns": 1}]),
        ("sip", REPORT["sip"][:1] * 5000),
        ("sip", [7]),
        ("remote_ssrcs", list(range(1000))),
        ("role", "king"),
        ("codec", "x\ny"),
        ("codec", "\ud800"),
        ("no_media", 0),
        ("bye_status", 10**9),
        ("uri", None),
    ],
)
def test_a_report_that_is_none_is_refused(path: str, value: Any) -> None:
    report = with_value(path, value)
    with pytest.raises(UntrustedValue) as wrong:
        PhoneReport.from_dict(report)
    failure = strange_report("sip:callee@192.0.2.7", report, wrong.value)
    assert failure.outcome is Outcome.FAILED
    assert len(str(failure)) < 1000
    assert len(json.dumps(failure.evidence, allow_nan=False)) < 2_000_000


@pytest.mark.parametrize("report", [None, 7, "report", [], [REPORT], {}, {"uri": "sip:a@b"}])
def test_what_is_no_object_or_lacks_what_it_needs_is_refused(report: Any) -> None:
    with pytest.raises(UntrustedValue):
        PhoneReport.from_dict(report)


def test_text_of_a_stranger_is_stored_as_text() -> None:
    report = PhoneReport.from_dict(with_value("ended_by", "\ud800\0" + "x" * 5000))
    report.ended_by.encode()
    assert len(report.ended_by) < 1100
    assert PhoneReport.from_dict(REPORT).rtcp.median_round_trip_ms == 1.5
    assert PhoneReport.from_dict({**REPORT, "of another version": 1}) == PhoneReport.from_dict(REPORT)


@pytest.mark.parametrize("seed", range(4))
def test_mutated_reports_are_reports_or_refused(seed: int) -> None:
    chance = Random(seed)
    for _ in range(400):
        report = mutated(REPORT, chance, chance.choice((1, 2, 3)))
        try:
            back = PhoneReport.from_dict(report)
        except UntrustedValue:
            json.dumps(plain(report), allow_nan=False).encode()
        else:
            json.dumps(back.to_dict(), allow_nan=False, ensure_ascii=False).encode()


@pytest.mark.parametrize("seed", range(2))
def test_mutated_setups_are_setups_or_refused(seed: int) -> None:
    chance = Random(seed)
    assert PhoneSetup.from_dict(PhoneSetup.from_dict(SETUP).to_dict()) == PhoneSetup.from_dict(SETUP)
    for _ in range(300):
        try:
            setup = PhoneSetup.from_dict(mutated(SETUP, chance))
        except UntrustedValue:
            continue
        assert setup.seconds is None or setup.seconds <= 3600


@pytest.mark.parametrize("said", ["completed", "interrupted"])
def test_a_phone_cannot_say_that_a_call_is_whole_or_that_the_user_ended_it(said: str) -> None:
    told = {"outcome": said, "stage": "a", "on": "b", "happened": "c", "remedy": "d", "evidence": {"x": 10**400}}
    assert failure_from(told).outcome is Outcome.FAILED


def test_what_was_told_is_shown_in_a_short_line() -> None:
    for value in (10**4000, "\ud800" * 10**6, [1] * 10**6, {"a": 1}, b"x", float("nan"), None):
        assert len(shown(value)) <= 60
        shown(value).encode()
