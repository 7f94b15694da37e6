"""The ear: jitter buffers, concealment and rendering; pure.

`hear` is the whole of it: when packets arrived in, what a phone would have played out.
"""

from __future__ import annotations

from earwitness.ear.base import Fate, JitterBuffer
from earwitness.ear.buffers import buffer
from earwitness.ear.conceal import CONCEALMENTS
from earwitness.ear.hear import Heard, hear

__all__ = ["CONCEALMENTS", "Fate", "Heard", "JitterBuffer", "buffer", "hear"]
