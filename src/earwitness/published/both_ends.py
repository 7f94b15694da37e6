"""What the captures of both ends of a call show together: loss, and one-way delay with its error bound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from earwitness.archive.schema import Row
from earwitness.errors import InputError
from earwitness.facts import finite
from earwitness.published.recording import Doubt
from earwitness.trace.clock import estimate_clock, on_one_clock
from earwitness.trace.delay import delay_statistics, one_way_delay_ms
from earwitness.trace.loss import loss
from earwitness.trace.model import Payloads, Trace
from earwitness.trace.pair import pair


def paired(sent: Trace, received: Trace, row: Row, doubts: list[Doubt]) -> tuple[Trace, Row]:
    """Pair both ends' captures of one direction into one trace, and add the loss, which needs both."""
    try:
        trace = pair(sent, received)
    except InputError as error:
        doubts.append(Doubt("ends do not pair", row.source_capture, error.happened))
        return received, row
    counts = loss(trace)
    return trace, replace(row, packets_sent=counts.expected, loss_ratio=finite(counts.ratio))


def with_delay(rows: Sequence[Row], traces: Sequence[Trace | None]) -> tuple[list[Row], list[Trace | None]]:
    """Rows and traces with one-way delays if both ends captured both directions; otherwise unchanged.

    The traces' times are converted to the clock of the first trace's sender. `owd_error_ms` is the bound that holds for
    any path, including an asymmetric one.
    """
    out, back = (*traces, None, None)[:2]
    if len(traces) != 2 or out is None or back is None:
        return list(rows), list(traces)
    try:
        estimate = estimate_clock(out, back)
    except InputError:
        return list(rows), list(traces)  # the ends did not pair; `paired` has recorded that
    moved = [on_one_clock(trace, estimate) for trace in (out, back)]
    found = [delay_statistics(one_way_delay_ms(trace)) for trace in moved]
    changed = [
        replace(
            row,
            owd_min_ms=finite(delay.min_ms),
            owd_p50_ms=finite(delay.p50_ms),
            owd_p95_ms=finite(delay.p95_ms),
            owd_p99_ms=finite(delay.p99_ms),
            owd_error_ms=finite(estimate.error_ms),
        )
        for row, delay in zip(rows, found, strict=True)
    ]
    return changed, list(moved)


def merged(traces: Sequence[Trace]) -> Trace:
    """The packets of several traces of one flow, in order of arrival, as one trace without payloads."""
    whole = Trace(
        sequence=np.concatenate([trace.sequence for trace in traces]),
        timestamp=np.concatenate([trace.timestamp for trace in traces]),
        payload_type=np.concatenate([trace.payload_type for trace in traces]),
        marker=np.concatenate([trace.marker for trace in traces]),
        size=np.concatenate([trace.size for trace in traces]),
        sent_ns=np.concatenate([trace.sent_ns for trace in traces]),
        arrived_ns=np.concatenate([trace.arrived_ns for trace in traces]),
        clock_rate=traces[0].clock_rate,
        ssrc=traces[0].ssrc,
        arrived_clock=traces[0].arrived_clock,
        source=traces[0].source,
        notes=(*traces[0].notes, f"{len(traces)} SSRCs of one flow together"),
    )
    return whole.take(np.argsort(whole.arrived_ns, kind="stable"))


def light(trace: Trace) -> Trace:
    """The trace with a copy of its payloads instead of a view of the whole capture, and without local paths."""
    if trace.payloads is None:
        return trace
    return replace(trace, payloads=Payloads.of([trace.payloads[row] for row in range(len(trace))]))
