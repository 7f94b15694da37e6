"""Reads the tables of a study file on design, stopping, retries, concurrency, budget and watching.

Each function reads one table, notes faults in the section, and substitutes the default for a faulty value.
"""

from __future__ import annotations

from earwitness.study.checked import Section
from earwitness.study.model import AXES, MEASURES, Budget, Design, Power, Retry, Run, StopRule, Watch


def read_design(section: Section) -> Design:
    """The repeats, and the axes compared."""
    repeats = section.integer("repeats", Design.repeats, 1, 100_000)
    compare = section.several("compare", Design().compare, kind=str, what="axis")
    for index, axis in enumerate(compare):
        if axis not in AXES:
            section.wrong("compare", f"{axis!r} is not an axis", f"choose one of {', '.join(AXES)}", index)
    section.finish()
    return Design(repeats=repeats, compare=tuple(axis for axis in compare if axis in AXES))


def read_stop(section: Section, design: Design) -> StopRule:
    """The stopping rule, checked against the design."""
    stop = StopRule(
        rule=section.text("rule", StopRule.rule, ("all", "half_width", "hours")),
        measure=section.text("measure", StopRule.measure, MEASURES),
        half_width=section.number("half_width", None, 1e-6, 1e6),
        least_repeats=section.integer("least_repeats", StopRule.least_repeats, 2, 100_000),
        hours=section.number("hours", None, 0.001, 1e5),
    )
    for rule, example in (("half_width", "half_width = 0.1"), ("hours", "hours = 8")):
        if stop.rule == rule and getattr(stop, rule) is None:
            section.wrong(rule, f"the rule {rule!r} needs it", f"add {example}")
    if stop.rule == "half_width" and stop.least_repeats > design.repeats:
        section.wrong("least_repeats", "there are fewer repeats than that", "raise design.repeats, or lower this")
    section.finish()
    return stop


def read_retry(section: Section) -> Retry:
    """The limits on retries."""
    retry = Retry(
        own=section.integer("own", Retry.own, 1, 100),
        network=section.integer("network", Retry.network, 1, 100),
        instrument=section.integer("instrument", Retry.instrument, 1, 100),
        backoff_s=_float(section, "backoff_s", Retry.backoff_s, 0.0, 86400.0),
        factor=_float(section, "factor", Retry.factor, 1.0, 100.0),
    )
    section.finish()
    return retry


def read_run(section: Section) -> Run:
    """How many calls run at once."""
    run = Run(at_once=section.integer("at_once", Run.at_once, 1, 16), adapt=section.flag("adapt", Run.adapt))
    section.finish()
    return run


def read_budget(section: Section) -> Budget:
    """Bounds on what is put on the network."""
    budget = Budget(
        tor_mib=section.number("tor_mib", None, 0.0, 1e9),
        tor_mib_per_hour=section.number("tor_mib_per_hour", None, 0.001, 1e9),
        calls_per_hour=section.number("calls_per_hour", None, 0.001, 1e6),
    )
    section.finish()
    return budget


def read_power(section: Section) -> Power:
    """The assumptions of the power calculation."""
    power = Power(
        measure=section.text("measure", Power.measure, MEASURES),
        sd=_float(section, "sd", Power.sd, 1e-9, 1e9),
        icc=_float(section, "icc", Power.icc, 0.0, 1.0),
        alpha=_float(section, "alpha", Power.alpha, 1e-6, 0.5),
        power=_float(section, "power", Power.power, 0.5, 0.9999),
    )
    section.finish()
    return power


def read_watch(section: Section) -> Watch:
    """The continuous mode."""
    watch = Watch(
        every_min=_float(section, "every_min", Watch.every_min, 0.0, 525_600.0),
        blocks=section.integer("blocks", Watch.blocks, 1, 100_000),
        keep_days=section.integer("keep_days", Watch.keep_days, 0, 100_000),
    )
    section.finish()
    return watch


def _float(section: Section, key: str, default: float, low: float, high: float) -> float:
    found = section.number(key, default, low, high)
    return default if found is None else found
