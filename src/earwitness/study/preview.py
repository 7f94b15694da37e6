"""`earwitness study plan`: the cost of a study, and the smallest difference that it can detect."""

from __future__ import annotations

import itertools
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from earwitness.analysis.paired import one_call_a_row, paired_values
from earwitness.analysis.power import Variance, smallest_difference, variance_of
from earwitness.archive.dataset import Dataset
from earwitness.errors import InputError
from earwitness.study.cost import Cost, cost
from earwitness.study.design import PlannedCall, design
from earwitness.study.model import Study
from earwitness.study.text import duration

_WIDEST_MOS = 4.0
"""From 1 to 5."""


@dataclass(frozen=True)
class Visible:
    """The smallest detectable difference between two paths."""

    of: str
    """all codecs, or one."""
    pairs: int
    here: float
    """Between the study's own places."""
    elsewhere: float
    """Between other places like these."""


@dataclass(frozen=True)
class Preview:
    """A study before it is run."""

    study: Study
    calls: tuple[PlannedCall, ...]
    cost: Cost
    wall_s: float
    variance: Variance
    comparisons: int
    visible: tuple[Visible, ...]

    def to_dict(self) -> dict[str, Any]:
        """The plan as one JSON record."""
        return {
            "study": self.study.name,
            "digest": self.study.digest(),
            "blocks": self.study.blocks_per_repeat * self.study.design.repeats,
            **asdict(self.cost),
            "at_once": self.study.run.at_once,
            "wall_s": self.wall_s,
            "measure": self.study.power.measure,
            "variance": asdict(self.variance),
            "comparisons": self.comparisons,
            "smallest_difference": [asdict(one) for one in self.visible],
        }


def preview(study: Study, pilot: Path | None = None) -> Preview:
    """The study's cost and smallest detectable difference, from a pilot data set or the assumed variance.

    Raises InputError if no two calls of the pilot differ in the compared axis alone.
    """
    calls = design(study)
    taken = cost(calls)
    variance = pilot_variance(pilot, study) if pilot else Variance(study.power.sd, study.power.icc)
    comparisons = max(1, math.comb(study.calls_per_block, 2))
    visible = [_visible(study, "all codecs", len(study.axes.codec), variance, comparisons)]
    if "codec" not in study.design.compare and len(study.axes.codec) > 1:
        visible.append(_visible(study, "each codec", 1, variance, comparisons))
    return Preview(study, calls, taken, taken.busy_s / study.run.at_once, variance, comparisons, tuple(visible))


def pilot_variance(pilot: Path, study: Study) -> Variance:
    """The variance of paired differences in a pilot data set, for the pair of paths whose differences vary most."""
    axis = study.design.compare[0] if study.design.compare else "path"
    rows = Dataset.open(pilot).rows()
    found = []
    if len(rows):
        pairs = paired_values(one_call_a_row(rows), axis, study.power.measure)
        found = [variance_of(differences, places, f"pilot {pilot}") for differences, places in pairs.values()]
    found = [one for one in found if np.isfinite(one.sd)]
    if not found:
        raise InputError(
            "planning from the pilot",
            pilot,
            f"no two pairs of its calls differ in {axis} alone",
            "give a data set that `study run` made, or leave out {pilot}",
            field="pilot",
        )
    return max(found, key=lambda one: one.sd)


def _visible(study: Study, of: str, codecs: int, variance: Variance, comparisons: int) -> Visible:
    blocks = study.blocks_per_repeat * study.design.repeats
    pairs = blocks // max(1, len(study.axes.codec)) * codecs if "codec" not in study.design.compare else blocks
    places = len(set(study.axes.places)) if "places" not in study.design.compare else 1
    power = study.power
    within = replace(variance, sd=variance.sd * math.sqrt(1.0 - variance.icc) if places > 1 else variance.sd, icc=0.0)
    here = smallest_difference(pairs, 1, within, alpha=power.alpha, power=power.power, comparisons=comparisons)
    elsewhere = (
        smallest_difference(pairs, places, variance, alpha=power.alpha, power=power.power, comparisons=comparisons)
        if places > 1
        else math.inf
    )
    return Visible(of, pairs, here, elsewhere)


def preview_text(plan: Preview, shown: int = 0) -> list[str]:
    """The plan as text, with the first `shown` calls."""
    study, taken = plan.study, plan.cost
    blocks = study.blocks_per_repeat * study.design.repeats
    lines = [
        f"study {study.name}: {taken.calls:,} calls in {blocks:,} blocks of {study.calls_per_block}"
        f" ({study.design.repeats} repeats), {taken.speech_s / 3600:.1f} h of speech",
        f"time: about {duration(plan.wall_s)} with {study.run.at_once} in progress at once",
        f"Tor: {taken.over_tor:,} calls on {taken.circuits:,} circuits,"
        f" {taken.tor_bytes / 2**20:,.0f} MiB of cells put on them,"
        f" {taken.relayed_bytes / 2**20:,.0f} MiB counted at each relay that carries them",
    ]
    power = study.power
    lines.append(
        f"smallest difference in {power.measure} seen with probability {power.power:g} at level {power.alpha:g}"
        f" over {plan.comparisons} comparison{'s' * (plan.comparisons != 1)}"
        f" (standard deviation of paired differences {plan.variance.sd:.2f}, share between places"
        f" {plan.variance.icc:.2f}, {plan.variance.source}):"
    )
    for one in plan.visible:
        elsewhere = (
            f"{one.elsewhere:.2f} between places like them" if math.isfinite(one.elsewhere) else "one place only"
        )
        lines.append(f"  {one.of}: {one.here:.2f} between these places, {elsewhere} ({one.pairs:,} pairs)")
    for call in itertools.islice(plan.calls, shown):
        options = call.plan
        lines.append(
            f"{call.position:5d}  block {call.block}  {call.arm}  {options.codec}"
            f"  {options.from_place} – {options.to_place}"
        )
    return lines
