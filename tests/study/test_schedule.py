"""The schedule where posts share what calls occupy: the one end at each place."""

from __future__ import annotations

from earwitness.study.design import PlannedCall, design
from earwitness.study.file import parse_study
from earwitness.study.schedule import Schedule, its_places

TEXT = """
version = 1
name = "shared"
[[path]]
name = "direct"
path = "direct"
[[path]]
name = "tcp"
path = "tcp"
[axes]
codec = ["g711u"]
places = [["Frankfurt", "London"], ["London", "Sydney"], ["New York", "Tokyo"]]
"""


def calls() -> list[PlannedCall]:
    """Ordered by places: Frankfurt - London, London - Sydney, New York - Tokyo; two calls each."""
    return sorted(design(parse_study(TEXT)), key=lambda call: (call.plan.from_place, call.position))


def places(call: PlannedCall | None) -> tuple[str, str] | None:
    return (call.plan.from_place, call.plan.to_place) if call else None


def test_two_posts_are_never_given_calls_that_share_a_place() -> None:
    schedule = Schedule(calls(), its_places)
    assert places(schedule.take("one", 0.0)) == ("Frankfurt", "London")
    assert places(schedule.take("two", 0.0)) == ("New York", "Tokyo")
    assert schedule.take("three", 0.0) is None
    assert places(schedule.take("one", 0.0)) == ("Frankfurt", "London")  # the rest of its block
    assert places(schedule.take("one", 0.0)) == ("London", "Sydney")  # its own hold on London ended
    assert places(schedule.take("two", 0.0)) == ("New York", "Tokyo")
    assert schedule.take("two", 0.0) is None
    assert places(schedule.take("one", 0.0)) == ("London", "Sydney")
    assert schedule.take("one", 0.0) is None
    assert len(schedule) == 0


def test_a_call_that_is_due_again_waits_for_its_places() -> None:
    schedule = Schedule(calls(), its_places)
    first = schedule.take("one", 0.0)
    assert first is not None
    for _ in range(4):
        schedule.take("two", 0.0)
    schedule.again(first, 1.0)
    assert schedule.take("two", 2.0) is None, "post one is in London still"
    assert schedule.due_in_s(2.0) is None, "it waits for London, and no time brings that"
    assert schedule.due_in_s(0.25) == 0.75
    assert places(schedule.take("one", 2.0)) == ("Frankfurt", "London")
    assert schedule.take("one", 2.0) == first


def test_a_post_that_rests_gives_its_block_back() -> None:
    schedule = Schedule(calls())
    assert places(schedule.take("one", 0.0)) == ("Frankfurt", "London")
    schedule.give_back("one")
    assert [places(schedule.take("two", 0.0)) for _ in range(2)] == [("Frankfurt", "London"), ("London", "Sydney")]
    assert len(schedule) == 3


def test_a_place_is_free_once_its_call_is_off_the_air_and_the_block_used_up() -> None:
    schedule = Schedule(calls()[:4], its_places)
    for _ in range(2):
        assert places(schedule.take("one", 0.0)) == ("Frankfurt", "London")
        assert schedule.take("two", 0.0) is None
        schedule.off_air("one")
    assert places(schedule.take("two", 0.0)) == ("London", "Sydney")


def test_a_place_by_another_name_is_the_same_place() -> None:
    text = TEXT.replace('["London", "Sydney"]', '["lond", "Sydney"]')
    schedule = Schedule(sorted(design(parse_study(text)), key=lambda call: call.plan.from_place), its_places)
    assert places(schedule.take("one", 0.0)) == ("Frankfurt", "London")
    assert places(schedule.take("two", 0.0)) == ("New York", "Tokyo")
    assert schedule.take("three", 0.0) is None
