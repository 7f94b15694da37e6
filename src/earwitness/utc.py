"""The one format of times in records, journals and files: UTC, ISO 8601, as many decimals as are known."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_text(at_ns: int, digits: int = 9) -> str:
    """Nanoseconds since 1970 as `2026-01-31T12:00:00.000000000Z`, truncated to `digits` decimals of a second."""
    seconds, nanoseconds = divmod(at_ns, 10**9)
    fraction = f".{nanoseconds:09d}"[: digits + 1] if digits else ""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}{fraction}Z"
