"""Settings of the answering side that apply to every caller."""

from __future__ import annotations

from dataclasses import dataclass

from earwitness.remote.machine import Machine
from earwitness.remote.store import CallStore
from earwitness.tor.control_address import ControlAddress

PATIENCE_S = 60.0
"""A caller that has been disconnected for this long, with no media arriving, is presumed gone."""


@dataclass(frozen=True, kw_only=True)
class Answering:
    """Settings for every session."""

    machine: Machine
    store: CallStore
    epoch_offset_ns: int
    """Offset of this machine's call clock from its CLOCK_MONOTONIC."""
    reached_at: str = ""
    """Address at which others reach this machine, if it is not the machine's own (behind NAT)."""
    media_port: int = 0
    """TCP port for the streams of a path; 0: any free port."""
    tor_control: ControlAddress | None = None
    """Control port of the tor that hosts onion services; None: the usual place."""
    patience_s: float = PATIENCE_S
