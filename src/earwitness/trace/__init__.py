"""Pure: RTP packets, captures and timing. Values in, values out; no clock, socket, process or global."""

from earwitness.trace.model import LOST, UNKNOWN, Payloads, Trace

__all__ = ["LOST", "UNKNOWN", "Payloads", "Trace"]
