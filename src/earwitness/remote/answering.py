"""What holds at the answering side for every caller."""

from __future__ import annotations

from dataclasses import dataclass

from earwitness.remote.machine import Machine
from earwitness.remote.store import CallStore
from earwitness.tor.control_address import ControlAddress

PATIENCE_S = 60.0
"""A caller without a connection for so long, and without media still arriving, is taken to be gone."""


@dataclass(frozen=True, kw_only=True)
class Answering:
    """What holds for every session."""

    machine: Machine
    store: CallStore
    epoch_offset_ns: int
    """What this machine's call clock is ahead of its CLOCK_MONOTONIC."""
    reached_at: str = ""
    """Address that others reach this machine by, where it is not the machine's own (behind a translator)."""
    media_port: int = 0
    """TCP port for the streams of a path; 0: any that is free."""
    tor_control: ControlAddress | None = None
    """Control port of the tor that offers onion services; None: where it usually is."""
    patience_s: float = PATIENCE_S
