"""How losses of what was heard come in bursts."""

from __future__ import annotations

import numpy as np

from earwitness.ear.base import Fate
from earwitness.ear.hear import Heard
from earwitness.trace.model import LOST, Trace
from earwitness.trace.timing import summarise


def burst_ratio(heard: Heard, trace: Trace) -> float:
    """BurstR (G.107 3.5) of what the decoder missed, whether it was lost or came too late."""
    missed = heard.ledger[heard.ledger["fate"] == Fate.LATE]
    late = trace.arrived_ns.copy()
    late[missed["packet"].to_numpy(dtype=np.int64)] = LOST
    return summarise(trace.with_arrivals(late)).burst_ratio
