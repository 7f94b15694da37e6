"""Jitter buffers, concealment and rendering; pure functions and values.

`hear` is the entry point: from packet arrival times to what a phone would have played.
"""

from __future__ import annotations

from earwitness.ear.base import Fate, JitterBuffer
from earwitness.ear.buffers import buffer
from earwitness.ear.conceal import CONCEALMENTS
from earwitness.ear.hear import Heard, hear

__all__ = ["CONCEALMENTS", "Fate", "Heard", "JitterBuffer", "buffer", "hear"]
