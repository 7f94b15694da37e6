"""RTP packets, captures and timing: pure functions and values, no clock, socket, process or global state."""

from earwitness.trace.model import LOST, UNKNOWN, Payloads, Trace

__all__ = ["LOST", "UNKNOWN", "Payloads", "Trace"]
