"""Lays out a study's calls as interleaved blocks, in an order determined by the seed.

A *block* is one combination of all factors that are not compared (codec, places, speech ...), measured once over each
of the compared paths, back to back in random order, with the same seed for relays, losses and start values. So
comparisons are between calls close in time, and slow changes (load, time of day) affect all paths alike. A *repeat* is
every block once, in random order. (Randomised complete blocks: Montgomery, "Design and Analysis of Experiments",
ch. 4.)

Items are ordered by the SHA-256 digest of the study's seed and the item, which is the same on every machine and in
every version; a generator's shuffle need not be.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from earwitness.call.plan import CallPlan, InStudy
from earwitness.study.model import AXES, Arm, Study


@dataclass(frozen=True)
class PlannedCall:
    """One call of a study. `position` numbers all calls from 1 in the planned order."""

    position: int
    block: str
    """`repeat.number`; calls of one block differ only in the compared axes."""
    repeat: int
    arm: str
    plan: CallPlan

    def call_id(self, attempt: int) -> str:
        """The call's name in the data set, which depends on the planned call and the attempt alone."""
        study = self.plan.study
        assert study is not None
        codec = self.plan.codec.partition(":")[0]
        name = f"{study.study}-{self.position:05d}-{self.arm}-{codec}"
        return f"{re.sub(r'[^A-Za-z0-9._+-]', '-', name)}-a{attempt}"


def of_call_id(study: str, call_id: str) -> tuple[int, int] | None:
    """Position and attempt from a call's name; None if it is not a call of this study."""
    match = re.fullmatch(rf"{re.escape(study)}-(\d{{5,}})-.+-a(\d+)", call_id)
    return None if match is None else (int(match[1]), int(match[2]))


def design(study: Study) -> tuple[PlannedCall, ...]:
    """All calls of the study, in order."""
    return tuple(itertools.chain.from_iterable(design_repeats(study, range(1, study.design.repeats + 1))))


def design_repeats(study: Study, repeats: Iterable[int]) -> Iterator[tuple[PlannedCall, ...]]:
    """The calls of each of these repeats; a repeat's calls do not depend on other repeats."""
    within = [axis for axis in AXES if axis in study.design.compare]
    between = [axis for axis in AXES if axis not in study.design.compare]
    blocks = list(enumerate(itertools.product(*(getattr(study.axes, axis) for axis in between)), 1))
    compared = list(itertools.product(*(getattr(study.axes, axis) for axis in within)))
    width = len(str(len(blocks)))
    for repeat in repeats:
        position = (repeat - 1) * len(blocks) * len(compared)
        calls: list[PlannedCall] = []
        for number, common in _shuffled(blocks, study.seed, repeat, "blocks"):
            block = f"{repeat}.{number:0{width}d}"
            seed = int.from_bytes(_digest(study.seed, block, "seed")[:4], "big") >> 2
            for chosen in _shuffled(compared, study.seed, block, "order"):
                position += 1
                values = {**dict(zip(between, common, strict=True)), **dict(zip(within, chosen, strict=True))}
                arm: Arm = values["path"]
                plan = _plan(study, values, InStudy(study=study.name, block=block, arm=arm.name), seed)
                calls.append(PlannedCall(position, block, repeat, arm.name, plan))
        yield tuple(calls)


def _plan(study: Study, values: dict[str, Any], place: InStudy, seed: int) -> CallPlan:
    options = {**study.call, **values["path"].options}
    from_place, to_place = values["places"]
    known = CallPlan.__dataclass_fields__
    for axis in ("codec", "speech", "phone", "buffer", "concealment", "load", "link"):
        if axis in known:
            options[axis] = values[axis]
    return CallPlan(from_place=from_place, to_place=to_place, seed=seed, study=place, **options)


def _shuffled(items: list[Any], *labels: object) -> list[Any]:
    order = sorted(range(len(items)), key=lambda index: _digest(*labels, index))
    return [items[index] for index in order]


def _digest(*labels: object) -> bytes:
    return hashlib.sha256("/".join(map(str, labels)).encode()).digest()
