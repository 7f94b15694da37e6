"""How soon a path's end is noticed and explained, and how near its probes come to the links."""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench.measure import Measurement
from testing.commands import report_of


def bench_in_the_lab() -> list[Measurement]:
    """The scenes of `tests/path`, whose tests hold what happens and bound the same times: one boot."""
    with tempfile.TemporaryDirectory() as folder:
        report = report_of("testing.path.inside_lab", Path(folder), within_s=600)
    ends = {
        "forwarder killed": report["deaths"]["forwarder"],
        "relay killed": report["deaths"]["relay"],
        "tunnel killed": report["vpn"]["killed"],
        "circuit under a tunnel closed": report["vpn"]["torn_down"],
    }
    results = []
    for what, end in ends.items():
        results.append(Measurement(f"{what}: noticed after", end["after_s"], "s", 2.0))
        results.append(Measurement(f"{what}: explained after", end["told_s"], "s", 2.0, note=end["reason"]))
    probes = report["probes"]
    for path in ("direct", "tcp"):
        above_ms = probes[path]["rtt"]["min_ms"] - probes["link_rtt_ms"]
        results.append(Measurement(f"{path}: least round trip above the links'", above_ms, "ms", 5.0))
    return results
