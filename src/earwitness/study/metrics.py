"""The metrics that a watch exports to Prometheus: calls, share acceptable, MOS, delay, jitter; and the watch's health.

Units and names follow Prometheus's conventions (seconds, ratios, `_total`); checked with promtool.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

from earwitness.archive.schema import Row
from earwitness.events import Event
from earwitness.study.ending import Why
from earwitness.study.events import CallFinished, TurnFinished
from earwitness.version import __version__

LABELS = ("path", "codec", "from_place", "to_place")
RECENT = 20
"""Number of recent directions per kind that the acceptable share covers: a day of hourly calls, or a quarter hour."""

_MOS = (1.0, 1.5, 2.0, 2.5, 2.75, 3.0, 3.25, 3.5, 3.75, 4.0, 4.25, 4.5)
_DELAY_S = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.7, 1.0, 1.5, 2.5)
"""Includes G.114's limits, 0.15 and 0.4 s."""
_SETUP_S = (0.001, 0.1, 0.3, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
_JITTER_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2)
_SHARE = (0.001, 0.003, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5)
_EXACT_S = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05)
"""0.005 s is what a call is trusted with."""


class Metrics:
    """The metrics of one watch, in their own registry."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        heard = (*LABELS, "direction")
        self._info = Info("earwitness_build", "What is measuring.", registry=registry)
        self._info.info({"version": __version__})
        self._calls = Counter(
            "earwitness_calls", "Calls placed, by how they ended.", (*LABELS, "outcome"), registry=registry
        )
        self._acceptable = Gauge(
            "earwitness_acceptable_ratio",
            f"Share of the last {RECENT} directions of calls that were good or acceptable; failed calls were not.",
            LABELS,
            registry=registry,
        )
        self._mos = self._histogram("mos_lqo", "Listening quality, MOS-LQO (P.862.1), 1 to 5.", heard, _MOS)
        self._mos_cqe = self._histogram("mos_cqe", "Conversational quality, MOS-CQE (G.107).", heard, _MOS)
        self._mouth = self._histogram("mouth_to_ear_seconds", "Mouth-to-ear delay (G.114).", heard, _DELAY_S)
        self._delay = self._histogram("one_way_delay_seconds", "Median one-way delay of a call.", heard, _DELAY_S)
        self._jitter = self._histogram("jitter_seconds", "Mean interarrival jitter (RFC 3550).", heard, _JITTER_S)
        self._concealed = self._histogram("concealed_ratio", "Share of speech time concealed.", heard, _SHARE)
        self._loss = self._histogram("loss_ratio", "Share of packets lost.", heard, _SHARE)
        self._setup = self._histogram(
            "path_setup_seconds", "Time to open the path.", LABELS, (0.1, *_DELAY_S[3:], 5, 10)
        )
        self._instrument = Counter(
            "earwitness_instrument_checks", "Directions of calls by whether the instrument was exact enough to trust.",
            ("good",), registry=registry,
        )  # fmt: skip
        self._exact = self._histogram(
            "send_deviation_seconds", "99th percentile deviation of sending times from the grid.", (), _EXACT_S
        )
        self._last = Gauge(
            "earwitness_last_call_timestamp_seconds", "When the last call was stored, Unix time.", registry=registry
        )
        self._blocks = Counter("earwitness_blocks", "Blocks finished.", registry=registry)
        self._errors = Counter(
            "earwitness_watch_errors", "Times that calls could not be placed at all (lab, disk).", registry=registry
        )
        self._recent: dict[tuple[str, ...], deque[bool]] = defaultdict(lambda: deque(maxlen=RECENT))

    def call(self, rows: Iterable[Row], arm: str, at_unix_s: float | None) -> None:
        """Count the rows of one call; `at_unix_s` None: from an earlier run, counted in the acceptable share only."""
        for number, row in enumerate(rows):
            labels = (arm or row.path, row.codec.partition(":")[0], row.from_place, row.to_place)
            recent = self._recent[labels]
            recent.append(row.verdict in ("good", "acceptable"))
            self._acceptable.labels(*labels).set(sum(recent) / len(recent))
            if at_unix_s is None:
                continue
            if number == 0:
                self._calls.labels(*labels, row.outcome).inc()
                self._last.set(at_unix_s)
                _observe(self._setup.labels(*labels), row.path_setup_ms, 1e-3)
            if row.instrument_ok is not None:
                self._instrument.labels(str(row.instrument_ok).lower()).inc()
            _observe(self._exact, row.send_deviation_p99_ms, 1e-3)
            if row.instrument_ok is False:
                continue
            heard = (*labels, row.direction)
            for histogram, value, unit in (
                (self._mos, row.mos_lqo, 1.0),
                (self._mos_cqe, row.mos_cqe, 1.0),
                (self._mouth, row.mouth_to_ear_ms, 1e-3),
                (self._delay, row.owd_p50_ms, 1e-3),
                (self._jitter, row.jitter_mean_ms, 1e-3),
                (self._concealed, row.concealed_ratio, 1.0),
                (self._loss, row.loss_ratio, 1.0),
            ):
                _observe(histogram.labels(*heard), value, unit)

    def listen(self, event: Event) -> None:
        """Update the metrics from an event."""
        if isinstance(event, CallFinished):
            self.call(event.stored.rows, event.call.arm, time.time())
        elif isinstance(event, TurnFinished):
            for _ in range(event.blocks):
                self.block_done()
            if event.ending.why in (Why.NETWORK, Why.TROUBLE):
                self.error()

    def block_done(self) -> None:
        """Count a finished block."""
        self._blocks.inc()

    def error(self) -> None:
        """Count a time when no calls could be placed."""
        self._errors.inc()

    def _histogram(self, name: str, says: str, labels: tuple[str, ...], buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"earwitness_{name}", says, labels, buckets=buckets, registry=self.registry)


def _observe(histogram: Histogram, value: float | None, unit: float) -> None:
    if value is not None:
        histogram.observe(value * unit)
