"""A study as a value: what it compares, what it varies, how often, and how it is run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

FILE_VERSION = 1

PATH_AXIS = "path"
AXES = (PATH_AXIS, "codec", "places", "speech", "phone", "buffer", "concealment", "load", "link")
"""The axes of a study, in the order in which a plan enumerates them."""

MEASURES = ("mos_lqo", "mos_cqe", "mouth_to_ear_ms", "jitter_mean_ms", "owd_p50_ms", "concealed_ratio", "late_ratio")
"""Columns that a stopping rule or a comparison can use."""


@dataclass(frozen=True)
class Arm:
    """One of the compared paths: its name in the study, and its options as in `earwitness.call.plan.CallPlan`."""

    name: str
    options: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Axes:
    """The values that each axis takes; every combination is measured."""

    path: tuple[Arm, ...]
    codec: tuple[str, ...]
    places: tuple[tuple[str, str], ...]
    speech: tuple[str, ...] = ("",)
    phone: tuple[str, ...] = ("builtin",)
    buffer: tuple[str, ...] = ("",)
    concealment: tuple[str, ...] = ("",)
    load: tuple[str, ...] = ("none",)
    link: tuple[str, ...] = ("",)


@dataclass(frozen=True, kw_only=True)
class Design:
    """The order of the calls in time."""

    repeats: int = 1
    compare: tuple[str, ...] = (PATH_AXIS,)
    """Axes that vary within a block; the others vary between blocks."""


@dataclass(frozen=True, kw_only=True)
class StopRule:
    """When the study ends before its last call."""

    rule: str = "all"
    """`all`, `half_width` or `hours`."""
    measure: str = "mos_lqo"
    half_width: float | None = None
    least_repeats: int = 3
    hours: float | None = None


@dataclass(frozen=True, kw_only=True)
class Retry:
    """The maximum number of attempts by kind of failure, and the wait between them."""

    own: int = 3
    network: int = 2
    instrument: int = 2
    backoff_s: float = 5.0
    factor: float = 3.0


@dataclass(frozen=True, kw_only=True)
class Run:
    """The number of calls that run at the same time."""

    at_once: int = 1
    adapt: bool = True


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The traffic permitted on a network that others use; None: unlimited."""

    tor_mib: float | None = None
    tor_mib_per_hour: float | None = None
    calls_per_hour: float | None = None


@dataclass(frozen=True, kw_only=True)
class Power:
    """The assumptions behind the smallest detectable difference that the plan reports."""

    measure: str = "mos_lqo"
    sd: float = 0.65
    icc: float = 0.25
    alpha: float = 0.05
    power: float = 0.8


@dataclass(frozen=True, kw_only=True)
class Watch:
    """The continuous mode."""

    every_min: float = 60.0
    blocks: int = 1
    keep_days: int = 0


@dataclass(frozen=True, kw_only=True)
class Study:
    """A checked study file."""

    name: str
    seed: int
    network: str
    axes: Axes
    call: Mapping[str, Any] = field(default_factory=dict)
    """Options that all calls share, named as in `CallPlan`."""
    design: Design = field(default_factory=Design)
    stop: StopRule = field(default_factory=StopRule)
    retry: Retry = field(default_factory=Retry)
    run: Run = field(default_factory=Run)
    budget: Budget = field(default_factory=Budget)
    power: Power = field(default_factory=Power)
    watch: Watch = field(default_factory=Watch)

    def frozen(self) -> dict[str, Any]:
        """Everything that determines the calls and the end of the study, and so cannot change once calls have run."""
        plain = asdict(self)
        return {key: plain[key] for key in ("name", "seed", "network", "axes", "call", "design", "stop")}

    def digest(self) -> str:
        """SHA-256 of `frozen`, hexadecimal."""
        return hashlib.sha256(json.dumps(self.frozen(), sort_keys=True).encode()).hexdigest()

    @property
    def blocks_per_repeat(self) -> int:
        """Number of blocks that measure every combination once."""
        return self._combinations(lambda axis: axis not in self.design.compare)

    @property
    def calls_per_block(self) -> int:
        """Number of calls in a block."""
        return self._combinations(lambda axis: axis in self.design.compare)

    @property
    def calls(self) -> int:
        """Total number of planned calls."""
        return self.design.repeats * self.blocks_per_repeat * self.calls_per_block

    def _combinations(self, wanted: Any) -> int:
        count = 1
        for axis in AXES:
            if wanted(axis):
                count *= len(getattr(self.axes, axis))
        return count
