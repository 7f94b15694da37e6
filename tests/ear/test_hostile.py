"""Whatever packets claim: a result of bounded size, or one line that says why there is none."""

from __future__ import annotations

from contextlib import suppress
from random import Random
from typing import TypeVar

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from earwitness.errors import EarwitnessError
from earwitness.speech.codecs.registry import codec
from earwitness.trace.model import Trace
from testing.ear.hostile import (
    ARRIVALS,
    BUFFERS,
    CODECS,
    CONCEALMENTS,
    KEPT,
    PAYLOADS,
    SENT,
    SEQUENCES,
    TIMESTAMPS,
    TYPES,
    blamed_sounds,
    clocked,
    heard_within_bounds,
    made,
    timed,
)

T = TypeVar("T")


def mostly(first: T, *others: T) -> st.SearchStrategy[T]:
    """One of these, half of the time the first."""
    return st.sampled_from([*[first] * max(1, len(others)), *others])


@st.composite
def hostile(draw: st.DrawFn, name: str) -> Trace | None:
    """A trace of any kind; None where what was drawn cannot be one."""
    kinds = {
        "sequence": draw(mostly(*SEQUENCES)),
        "timestamp": draw(st.sampled_from(list(TIMESTAMPS))),
        "arrival": draw(mostly(*ARRIVALS)),
        "sent": draw(st.sampled_from(list(SENT))),
        "payload": draw(mostly(*PAYLOADS)),
        "kept": draw(mostly(*KEPT)),
        "types": draw(mostly(*TYPES)),
    }
    rate: int | None = draw(mostly(None, 1, 8000, 999_999_999, 2**40))
    count, seed, one_clock = draw(st.integers(0, 60)), draw(st.integers(0, 2**32)), draw(st.booleans())
    with suppress(EarwitnessError):
        return made(kinds, name, count, seed, rate, one_clock)
    return None


@settings(max_examples=150)
@given(st.data())
def test_hearing_is_bounded_by_packets_and_arrivals(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(CODECS))
    of = codec(name)
    trace = data.draw(hostile(name))
    assume(trace is not None)
    assert trace is not None
    buffer, concealment = data.draw(st.sampled_from(BUFFERS)), data.draw(st.sampled_from(CONCEALMENTS))
    with suppress(EarwitnessError):
        heard = heard_within_bounds(trace, of, buffer, concealment)
        blamed_sounds(heard, of)


def test_some_of_such_traces_are_heard() -> None:
    """What is bounded above does happen, and is not refused each time."""
    chance, heard = Random(1), 0
    for seed in range(300):
        kinds = {
            "sequence": chance.choice(list(SEQUENCES)),
            "timestamp": chance.choice(list(TIMESTAMPS)),
            "arrival": chance.choice(list(ARRIVALS)),
            "sent": chance.choice(list(SENT)),
            "payload": chance.choice(list(PAYLOADS)),
            "kept": chance.choice(KEPT),
            "types": chance.choice(TYPES),
        }
        name = chance.choice(CODECS)
        with suppress(EarwitnessError):
            trace = made(kinds, name, chance.randint(0, 60), seed)
            heard_within_bounds(trace, codec(name), chance.choice(BUFFERS), chance.choice(CONCEALMENTS))
            heard += 1
    assert heard > 30


@settings(max_examples=200)
@given(st.data())
def test_timing_of_any_trace(data: st.DataObject) -> None:
    out, back = data.draw(hostile("g711u")), data.draw(hostile("g711u"))
    for trace in (out, back):
        if trace is not None:
            timed(trace)
    if out is not None and back is not None:
        with suppress(EarwitnessError):
            clocked(out, back)
