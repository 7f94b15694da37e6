"""How late packets leave the emulator: a histogram that costs one addition per packet."""

from __future__ import annotations

_BUCKET_NS = 1_000
_BUCKETS = 20_000


class LatenessHistogram:
    """Time from a packet's due time to its departure, in buckets of 1 us up to 20 ms."""

    def __init__(self) -> None:
        self._counts = [0] * (_BUCKETS + 1)
        self._largest_ns = 0

    def add(self, late_ns: int) -> None:
        """Count one packet."""
        bucket = late_ns // _BUCKET_NS
        self._counts[bucket if bucket < _BUCKETS else _BUCKETS] += 1
        if late_ns > self._largest_ns:
            self._largest_ns = late_ns

    def summary(self) -> dict[str, float]:
        """Count, p50, p99, p99.9 and maximum, in ms (percentiles to 1 us, capped at 20 ms)."""
        count = sum(self._counts)
        return {
            "packets": count,
            "p50_ms": self._quantile(count, 0.5),
            "p99_ms": self._quantile(count, 0.99),
            "p999_ms": self._quantile(count, 0.999),
            "max_ms": self._largest_ns / 1e6,
        }

    def _quantile(self, count: int, share: float) -> float:
        seen = 0
        for bucket, number in enumerate(self._counts):
            seen += number
            if number and seen >= share * count:
                return bucket * _BUCKET_NS / 1e6
        return 0.0
