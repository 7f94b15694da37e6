"""The rows of a record: its own, or one per direction made from the record's other fields."""

from __future__ import annotations

from earwitness.archive.layout import DIRECTIONS
from earwitness.archive.record import CallRecord
from earwitness.archive.schema import Row
from earwitness.path.probe import NO_ROUND_TRIPS


def record_rows(record: CallRecord) -> tuple[Row, ...]:
    """The rows of a record; a call that failed before it had any gets one per direction with what is known."""
    return record.rows or tuple(
        row_of(record, direction).ended(record.outcome, record.outcome_detail) for direction in DIRECTIONS
    )


def row_of(record: CallRecord, direction: str) -> Row:
    """A row with every column that the record gives, without measurements of packets and audio, and without outcome."""
    path, load = record.path_details, record.load
    rtt = path.rtt or NO_ROUND_TRIPS
    throughput = (path.throughput or {}).get(direction)
    return Row(
        call_id=record.call_id,
        started_at=record.started_at,
        network=record.network,
        path=record.path,
        hops=len(record.circuit.relays) or None,
        circuit=str(record.circuit),
        codec=record.codec,
        from_place=record.caller.place,
        to_place=record.callee.place,
        phone=record.phone,
        relay_nodelay=path.relay_nodelay,
        security=path.security or "",
        tunnel_nodelay=path.tunnel_nodelay,
        load=load.load or "",
        load_mbit_s=load.mbit_s,
        seed=record.seed,
        direction=direction,
        rtt_min_ms=rtt.min_ms,
        rtt_avg_ms=rtt.avg_ms,
        rtt_max_ms=rtt.max_ms,
        rtt_mdev_ms=rtt.mdev_ms,
        throughput_kbit_s=throughput.kbit_s if throughput else None,
        speech=record.speech.name,
    )
