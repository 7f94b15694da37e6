"""Calls between two hosts whose clocks differ, with the delays of each packet known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from earwitness.trace.clock import ClockEstimate, estimate_clock, on_one_clock
from earwitness.trace.delay import one_way_delay_ms
from testing.trace.making import trace

Queue = Callable[[Generator, int], np.ndarray]
EPOCH_NS = 1_700_000_000_000_000_000


def reached(rng: Generator, n: int, mean_ms: float, times: int = 20) -> np.ndarray:
    """Queueing that is empty exactly `times` times, exponential over a floor of 5 ms else."""
    queue = 5.0 + rng.exponential(mean_ms, n)
    queue[rng.choice(n, times, replace=False)] = 0.0
    return queue


def single_server(rng: Generator, n: int, load: float) -> np.ndarray:
    """Waiting times of a queue with 20 ms between arrivals and exponential service (Lindley's recursion)."""
    service, wait, waits = rng.exponential(20 * load, n), 0.0, np.empty(n)
    for i in range(n):
        waits[i] = wait
        wait = max(0.0, wait + service[i] - 20)
    return waits


QUEUES: dict[str, tuple[Queue, Queue]] = {
    "light one way, heavy the other": (lambda r, n: reached(r, n, 3), lambda r, n: reached(r, n, 60)),
    "a busy server one way": (lambda r, n: single_server(r, n, 0.85), lambda r, n: reached(r, n, 5)),
    "batches as over Tor": (
        lambda r, n: np.where(reached(r, n, 1) == 0, 0, 80 - (np.arange(n) * 20) % 80 + r.exponential(5, n)),
        lambda r, n: reached(r, n, 20),
    ),
    "a queue that grows": (
        lambda r, n: np.where(reached(r, n, 1) == 0, 0, 5 + r.exponential(20, n) + np.arange(n) * 0.1),
        lambda r, n: reached(r, n, 5),
    ),
}


@dataclass(frozen=True)
class Trial:
    """One estimate against the truth."""

    estimate: ClockEstimate
    worst_error_ms: float
    """The largest error of any packet's one-way delay, either direction."""


def trial(seed: int, queues: tuple[Queue, Queue], *, packets: int = 1500, offset_ns: int = 3_000_000_000,
          skew_ppm: float = 50.0, base_ms: tuple[float, float] | None = None) -> Trial:  # fmt: skip
    """A call of `packets` each way, 20 ms apart; the far clock is ahead and fast; times are to the microsecond."""
    rng = np.random.default_rng(seed)
    least = base_ms or (float(rng.uniform(5, 250)),) * 2
    delays = [least[i] + queues[i](rng, packets) + rng.exponential(0.01, packets) for i in range(2)]
    sent = [np.arange(packets, dtype=np.int64) * 20_000_000 + rng.integers(0, 1_000_000, packets) for _ in range(2)]
    arrived = [sent[i] + np.round(delays[i] * 1e6).astype(np.int64) for i in range(2)]

    def here(times: np.ndarray) -> np.ndarray:
        return (EPOCH_NS + times) // 1000 * 1000

    def there(times: np.ndarray) -> np.ndarray:
        ahead = offset_ns + np.round(times * (skew_ppm * 1e-6)).astype(np.int64)
        return (EPOCH_NS + times + ahead) // 1000 * 1000

    out = trace(here(sent[0]), there(arrived[0]), sent_clock="here", arrived_clock="there")
    back = trace(there(sent[1]), here(arrived[1]), sent_clock="there", arrived_clock="here")
    estimate = estimate_clock(out, back)
    errors = []
    for direction, true in ((out, delays[0]), (back, delays[1])):
        moved = on_one_clock(direction, estimate)
        errors.append(float(np.abs(one_way_delay_ms(moved) - true[moved.sequence]).max()))
    return Trial(estimate, max(errors))
