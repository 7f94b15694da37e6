"""Probes around a call: round trips before it, throughput after it. One that fails costs the call nothing."""

from __future__ import annotations

from earwitness.call.builder import CallBuilder
from earwitness.errors import EarwitnessError
from earwitness.path.base import OpenPath

DIRECTIONS = ("to_callee", "to_caller")


async def probe(opened: OpenPath, count: int, notebook: CallBuilder) -> None:
    """Measure round trips into the path's details, as `rtt`; 0 probes measure nothing."""
    if not count:
        return
    try:
        measured = await opened.round_trips(count)
    except (EarwitnessError, OSError) as error:
        notebook.notes.append(f"round trips were not measured: {error}")
        return
    if measured is None:
        return
    opened.details["rtt"] = measured.to_dict()
    if measured.received < measured.sent:
        notebook.notes.append(f"{measured.received} of {measured.sent} probes came back")


async def fill(opened: OpenPath, notebook: CallBuilder) -> None:
    """Measure throughput into the path's details, as `throughput`, by direction, one after the other."""
    for direction in DIRECTIONS:
        try:
            measured = await opened.throughput(direction)
        except (EarwitnessError, OSError) as error:
            notebook.notes.append(f"throughput {direction} was not measured: {error}")
            continue
        if measured is not None:
            opened.details.setdefault("throughput", {})[direction] = measured.to_dict()
