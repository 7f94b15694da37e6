"""Reads the emulator's ground-truth log as a table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from earwitness.emulator.truth_log import NO_HOST, RECORD, PacketFate

_DTYPE = np.dtype(
    [
        ("in_ns", "<i8"),
        ("due_ns", "<i8"),
        ("out_ns", "<i8"),
        ("source", "<u2"),
        ("destination", "<u2"),
        ("length", "<u2"),
        ("protocol", "u1"),
        ("fate", "u1"),
        ("source_port", ">u2"),
        ("destination_port", ">u2"),
        ("udp_rest", "V4"),
        ("payload", "V12"),
        ("padding", "V4"),
    ]
)
assert _DTYPE.itemsize == RECORD.size

_PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp"}
_RTP = np.dtype([("flags", "u1"), ("type", "u1"), ("sequence", ">u2"), ("timestamp", ">u4"), ("ssrc", ">u4")])


def read_truth(
    directory: Path,
    hosts: Mapping[int, str],
    source: str | None = None,
    destination: str | None = None,
    since_ns: int = 0,
    until_ns: int | None = None,
) -> pd.DataFrame:
    """The packets sent by hosts, one row each, in the order in which they entered the network.

    Args:
        directory: the lab's state directory with the log files.
        hosts: host names by number.
        source: only packets from this host.
        destination: only packets to this host.
        since_ns: only packets that entered at or after this time, CLOCK_MONOTONIC.
        until_ns: only packets that entered before this time.

    Returns:
        Columns: `in_ns` when the emulator read it from the sender's device; `due_ns` when it should leave and `out_ns`
        when it left, both missing for packets lost before; all int64 (or nullable Int64) ns on CLOCK_MONOTONIC.
        `source`, `destination` (host names; missing without a route), `protocol`, `source_port`, `destination_port` (0
        except for UDP and TCP), `length` (bytes, with the IP header), `fate` (`PacketFate` in lower case), `payload`
        (the first 12 bytes of a UDP payload), and `rtp_sequence`, `rtp_timestamp`, `rtp_ssrc`, read from it if it looks
        like RTP (version 2, not RTCP), otherwise missing.
    """
    numbers = {name: number for number, name in hosts.items()}
    parts = []
    for segment in sorted(directory.glob("truth-*.bin")):
        records = np.fromfile(segment, dtype=_DTYPE)
        keep = records["in_ns"] >= since_ns
        if until_ns is not None:
            keep &= records["in_ns"] < until_ns
        if source is not None:
            keep &= records["source"] == numbers[source]
        if destination is not None:
            keep &= records["destination"] == numbers[destination]
        parts.append(records[keep])
    records = np.concatenate(parts) if parts else np.empty(0, dtype=_DTYPE)
    return _table(records[np.argsort(records["in_ns"], kind="stable")], hosts)


def _table(records: np.ndarray, hosts: Mapping[int, str]) -> pd.DataFrame:
    left = np.isin(records["fate"], [PacketFate.DELIVERED, PacketFate.DUPLICATE, PacketFate.DEAD_HOST])
    ported = np.isin(records["protocol"], [6, 17])
    payload = np.ascontiguousarray(records["payload"])
    rtp = payload.view(_RTP)
    is_rtp = (
        (records["protocol"] == 17)
        & (records["length"] >= 20 + 8 + 12)
        & (rtp["flags"] >> 6 == 2)
        & ~((rtp["type"] >= 192) & (rtp["type"] <= 223))
    )
    names = {**hosts, NO_HOST: None}
    raw = payload.tobytes()
    return pd.DataFrame(
        {
            "in_ns": records["in_ns"].astype(np.int64),
            "due_ns": _nullable(records["due_ns"], left),
            "out_ns": _nullable(records["out_ns"], left),
            "source": _named(records["source"], names),
            "destination": _named(records["destination"], names),
            "protocol": _named(records["protocol"], _PROTOCOLS),
            "source_port": np.where(ported, records["source_port"], 0).astype(np.int64),
            "destination_port": np.where(ported, records["destination_port"], 0).astype(np.int64),
            "length": records["length"].astype(np.int64),
            "fate": _named(records["fate"], {fate.value: fate.name.lower() for fate in PacketFate}),
            "payload": [raw[start : start + 12] for start in range(0, len(raw), 12)],
            "rtp_sequence": _nullable(rtp["sequence"], is_rtp),
            "rtp_timestamp": _nullable(rtp["timestamp"], is_rtp),
            "rtp_ssrc": _nullable(rtp["ssrc"], is_rtp),
        }
    )


def _nullable(values: np.ndarray, present: np.ndarray) -> pd.arrays.IntegerArray:
    return pd.arrays.IntegerArray(values.astype(np.int64), ~present)


def _named(numbers: np.ndarray, names: Mapping[int, str | None]) -> pd.Series[str]:
    """Map numbers to names; an unknown number keeps its digits, None means missing."""
    known = {int(number): names.get(int(number), str(number)) for number in np.unique(numbers)}
    return pd.Series(numbers.astype(np.int64)).map(known).astype("string")
