"""What a load is said to be, and the lab that it needs."""

from __future__ import annotations

import pytest

from earwitness.call.lab_needs import lab_plan_for
from earwitness.call.plan import CallPlan
from earwitness.errors import InputError
from earwitness.lab.load.spec import Bulk, LoadSpec, Web
from earwitness.lab.plan import LabPlan


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ()),
        ("none", ()),
        ("web:12", (Web(12),)),
        ("bulk:2,rate=1.5", (Bulk(2, 1.5),)),
        ("web:2,page=1234.5678", (Web(2, 1234.5678),)),
        ("web:3,page=100,pause=2+bulk:1", (Web(3, 100.0, 2.0), Bulk(1))),
    ],
)
def test_a_load_is_read_and_written(text: str, parts: tuple[Web | Bulk, ...]) -> None:
    spec = LoadSpec.parse(text)
    assert spec.parts == parts
    assert LoadSpec.parse(str(spec)) == spec
    assert str(spec) == (text or "none")


@pytest.mark.parametrize(
    "text",
    [
        "web",
        "web:",
        "web:²",
        "web:0",
        "web:65",
        "web:40+web:40",
        "ftp:3",
        "web:3,rate=2",
        "bulk:1,rate=x",
        "bulk:1,rate=0.001",
        "web:2,page=0",
    ],
)
def test_what_is_no_load_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        LoadSpec.parse(text)


def test_the_lab_of_loaded_calls_has_hosts_for_it_and_relays_that_can_be_filled() -> None:
    plan = lab_plan_for([CallPlan(path="direct", load="none"), CallPlan(path="tor", load="web:2")])
    assert (plan.with_load, plan.relay_mbit, plan.standing_load.clients) == (True, 2.0, 0)
    assert {"load", "loadserver"} <= {host.name for host in plan.hosts()}
    assert lab_plan_for([CallPlan(load="web:2", relay_mbit=0.0)]).relay_mbit == 0.0
    assert not lab_plan_for([CallPlan()]).with_load


@pytest.mark.parametrize(
    ("call", "served"),
    [
        (CallPlan(), True),
        (CallPlan(load="none"), False),  # it asks for quiet
        (CallPlan(load="web:3"), False),
        (CallPlan(relay_mbit=2.0), True),
        (CallPlan(relay_mbit=0.0), False),
    ],
)
def test_a_lab_with_a_load_serves_calls_that_take_it_as_it_is(call: CallPlan, served: bool) -> None:
    up = LabPlan(load="web:8", with_load=True, relay_mbit=2.0)
    assert lab_plan_for([call]).served_by(up) is served
    assert lab_plan_for([CallPlan(load="web:3")]).served_by(LabPlan(with_load=True, relay_mbit=2.0))
    assert LabPlan.from_dict(up.to_dict()) == up


def test_a_lab_that_cannot_be_is_refused() -> None:
    for wrong in ({"load": "web:8"}, {"load": "web:8", "with_load": True, "with_tor": False}, {"relay_mbit": 0.3}):
        with pytest.raises(InputError):
            LabPlan(**wrong)
