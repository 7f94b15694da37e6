"""What if these calls had been heard through another jitter buffer? All calls of a data set x buffers, in parallel.

Each (call, direction, buffer) is replayed by the ear and scored; what is done is kept, so that an interrupted run goes
on where it stopped. The same calls and buffers give the same bytes, however many workers there are.
"""

from __future__ import annotations
