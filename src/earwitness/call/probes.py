"""Probes around a call: round trips before it, throughput after it. A failed probe does not fail the call."""

from __future__ import annotations

from dataclasses import replace

from earwitness.call.builder import CallBuilder
from earwitness.errors import EarwitnessError
from earwitness.path.base import OpenPath
from earwitness.path.facts import ThroughputFacts

DIRECTIONS = ("to_callee", "to_caller")


async def probe(opened: OpenPath, count: int, builder: CallBuilder) -> None:
    """Measure round trips and store them in the path's facts as `rtt`; with 0 probes, do nothing."""
    if not count:
        return
    try:
        measured = await opened.round_trips(count)
    except (EarwitnessError, OSError) as error:
        builder.notes.append(f"round trips were not measured: {error}")
        return
    if measured is None:
        return
    opened.facts = replace(opened.facts, rtt=measured)
    if measured.received < measured.sent:
        builder.notes.append(f"{measured.received} of {measured.sent} probes came back")


async def fill(opened: OpenPath, builder: CallBuilder) -> None:
    """Measure throughput, one direction after the other, and store it in the path's facts as `throughput`."""
    for direction in DIRECTIONS:
        try:
            measured = await opened.throughput(direction)
        except (EarwitnessError, OSError) as error:
            builder.notes.append(f"throughput {direction} was not measured: {error}")
            continue
        if measured is not None:
            carried = {**(opened.facts.throughput or {}), direction: ThroughputFacts.of(measured)}
            opened.facts = replace(opened.facts, throughput=carried)
