"""The study file: TOML, read and checked as a whole; every fault is told at once, with its line and a remedy."""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from earwitness.call.plan import CallPlan
from earwitness.errors import EarwitnessError, InputError
from earwitness.files import MIB, read_text
from earwitness.lab.load.spec import LoadSpec
from earwitness.study.checked import Faults, FileFaults, Section
from earwitness.study.model import (
    AXES,
    FILE_VERSION,
    MEASURES,
    Arm,
    Axes,
    Budget,
    Design,
    Power,
    Retry,
    Run,
    StopRule,
    Study,
    Watch,
)
from earwitness.study.toml_lines import toml_lines
from earwitness.toml import parse_toml

NETWORKS = ("lab", "public")
"""`public`: between the vantages of a cluster, over whatever network is between them."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
_MOST_CALLS = 1_000_000
MOST_BYTES = MIB // 4
"""Of a study file; a long one has a hundredth of it."""

_OF_AXES = ("codec", "from_place", "to_place", "speech", "phone", "buffer", "concealment", "load", "link")
_OF_STUDY = ("seed", "inject", "study", "wait_s")
_OF_CALL = (
    "seconds",
    "relay_mbit",
    "silence_suppression",
    "tail_s",
    "sip_server",
    "sip_accounts",
    "sip_relay",
    "rtt_probes",
    "throughput",
    "scorers",
)
"""Options that all calls of a study share; what is in none of these belongs to a path."""
_NO_NAME_REMEDY = 'give a name of letters, digits, _ and -, at most 40, such as name = "tor3"'


@dataclass(frozen=True)
class StudyFile:
    """A study file, read and checked once; passed on as this value."""

    text: str
    """As it is kept beside the calls."""
    source: Path | str
    """Where it came from, for messages."""
    study: Study
    """What runs: the study that the text describes, or what `adapted` made of it."""
    adapt: Callable[[Study], Study] = field(default=lambda study: study, repr=False, compare=False)

    @classmethod
    def parse(cls, text: str, source: Path | str = "the study file") -> StudyFile:
        """The file with that text; raises as `read_study_file`."""
        return cls(text, source, parse_study(text, source))

    def adapted(self, adapt: Callable[[Study], Study]) -> StudyFile:
        """The same file, whose study is run as `adapt` makes it: as a day of a watch, for example."""
        return replace(self, study=adapt(self.study), adapt=lambda study: adapt(self.adapt(study)))


def read_study(path: Path) -> Study:
    """The study that a file describes; raises as `read_study_file`."""
    return read_study_file(path).study


def read_study_file(path: Path) -> StudyFile:
    """Read and check a study file.

    Raises:
        InputError: it cannot be read, is not TOML, or (`FileFaults`) says what cannot be; all its faults are named.
    """
    try:
        text = read_text(path, MOST_BYTES)
    except OSError as error:
        raise InputError("reading the study", path, error.strerror, "write one with `earwitness study init`") from error
    except UnicodeDecodeError as error:
        raise InputError("reading the study", path, f"it is not UTF-8 ({error})", "save it as UTF-8") from error
    return StudyFile.parse(text, path)


def parse_study(text: str, path: Path | str = "the study file") -> Study:
    """The study that a file's text describes; raises as `read_study_file`."""
    try:
        values = parse_toml(text.replace("\r\n", "\n"))
        faults = Faults(toml_lines(text.replace("\r\n", "\n")))
    except (ValueError, RecursionError) as error:
        happened = "it is nested too deep" if isinstance(error, RecursionError) else f"it is not TOML: {error}"
        remedy = "see https://toml.io, or begin with `earwitness study init`"
        raise InputError("reading the study", path, happened, remedy) from error
    study = _study(Section(values, (), faults))
    if faults.found or study is None:
        raise FileFaults(path, faults.found)
    return study


def _study(top: Section) -> Study | None:
    version = top.integer("version", FILE_VERSION, 1, 999)
    if version != FILE_VERSION:
        top.wrong("version", f"{version} is of another Earwitness", f"this one reads version = {FILE_VERSION}")
    name = top.text("name", "")
    if not _NAME.fullmatch(name):
        top.wrong("name", f"{name!r} cannot name a study" if name else "it is missing", _NO_NAME_REMEDY)
    seed = top.integer("seed", 1, 0, 2**31 - 1)
    network = top.text("network", "lab", NETWORKS)
    call = _options(top.section("call"), _OF_CALL)
    axes = _axes(top, call)
    design = _design(top.section("design"))
    run = _run(top.section("run"))
    settings: dict[str, Any] = {
        "stop": _stop(top.section("stop"), design),
        "retry": _retry(top.section("retry")),
        "run": run,
        "budget": _budget(top.section("budget")),
        "power": _power(top.section("power")),
        "watch": _watch(top.section("watch")),
    }
    top.finish()
    if axes is None:
        return None
    study = Study(name=name, seed=seed, network=network, axes=axes, call=call, design=design, **settings)
    if run.at_once > 1 and any("relay_nodelay" in arm.options for arm in axes.path):
        top.faults.add(("run", "at_once"), "relay_nodelay changes relays that calls share", "write at_once = 1")
    if run.at_once > 1 and any(LoadSpec.parse(load) for load in axes.load):
        top.faults.add(("run", "at_once"), "a load fills relays that calls share", "write at_once = 1")
    if study.calls > _MOST_CALLS:
        top.wrong("axes", f"{study.calls:,} calls", f"leave values out until there are {_MOST_CALLS:,} at most")
    return study


# -- what varies -----------------------------------------------------------------------------------------


def _axes(top: Section, call: dict[str, Any]) -> Axes | None:
    arms = _arms(top.sections("path"))
    if not arms:
        top.wrong("path", "no path is given", 'add a table: [[path]] with name = "direct" and path = "direct"')
    section = top.section("axes")
    places = _places(section)
    checks: dict[str, Callable[[str], object]] = {
        "codec": _check_codec,
        "speech": lambda spec: _check_speech(spec, call.get("seconds")),
        "phone": _only_option("phone", "builtin"),
        "buffer": _check_buffer,
        "concealment": _check_concealment,
        "load": LoadSpec.parse,
        "link": _check_link,
    }
    chosen: dict[str, tuple[str, ...]] = {}
    for key, check in checks.items():
        fallback = next(field.default for field in dataclasses.fields(Axes) if field.name == key)
        default = () if fallback is dataclasses.MISSING else fallback
        if not default and key not in section:
            section.wrong(key, "it is missing", f'list what is measured: {key} = ["g711u", "opus:24000"]')
        values = section.several(key, default or ("g711u",), kind=str, what=f"{key} (in quotes)")
        _check_each(section, key, values, check)
        chosen[key] = tuple(values)
    section.finish()
    return Axes(path=tuple(arms), places=tuple(places), **chosen) if arms and places else None


def _arms(sections: Iterable[Section]) -> list[Arm]:
    arms: list[Arm] = []
    for section in sections:
        name = section.text("name", "")
        if not _NAME.fullmatch(name):
            section.wrong("name", f"{name!r} cannot name a path" if name else "it is missing", _NO_NAME_REMEDY)
        if name in [arm.name for arm in arms]:
            section.wrong("name", f"{name!r} is there twice", "give each path a name of its own")
        reserved = {*_OF_AXES, *_OF_STUDY, *_OF_CALL}
        options = _options(section, [key for key in _plan_fields() if key not in reserved])
        if "path" not in options:
            section.wrong("path", "it is missing", 'say how the datagrams travel: path = "direct" or path = "tor"')
        else:
            try:
                CallPlan(**options)
            except InputError as error:
                section.wrong("path" if "path" in error.tried or "over" in error.tried else "hops", *_said(error))
        arms.append(Arm(name, options))
    return arms


def _options(section: Section, allowed: Iterable[str]) -> dict[str, Any]:
    """Options of a call among `allowed`, each of the type that `CallPlan` says."""
    hints = _plan_fields()
    chosen: dict[str, Any] = {}
    for key in (key for key in allowed if key in hints):
        hint = hints[key]
        if typing.get_origin(hint) is tuple:
            if found := _names(section, key):
                chosen[key] = found
            continue
        kind = next(kind for kind in typing.get_args(hint) or (hint,) if kind is not types.NoneType)
        if key not in section:
            section.know(key)
            continue
        if kind is bool:
            chosen[key] = section.flag(key, False)
        elif kind is int:
            chosen[key] = section.integer(key, 0, -(2**31), 2**31)
        elif kind is float:
            chosen[key] = section.number(key, None, 0.0, 1e6)
        else:
            chosen[key] = section.text(key, "")
    if section.where == ("call",):
        seconds = chosen.get("seconds")
        if seconds is not None and not 4.0 <= seconds <= 3600.0:
            section.wrong("seconds", f"{seconds:g} s is not possible", "give 4 to 3600: PESQ needs about 4 s of speech")
            del chosen["seconds"]
        section.finish()
    elif section.where[:1] == ("path",):
        section.finish()
    return chosen


def _names(section: Section, key: str) -> tuple[str, ...]:
    """A list of names, each checked by itself; empty where there is none."""
    if key not in section:
        section.know(key)
        return ()

    def check(name: str) -> None:
        options: dict[str, Any] = {key: (name,)}
        CallPlan(**options).check()

    names = section.several(key, (), kind=str, what="name (in quotes)")
    _check_each(section, key, names, check)
    return tuple(names)


def _plan_fields() -> dict[str, Any]:
    """The options of a call and their types."""
    hints = typing.get_type_hints(CallPlan)
    return {field.name: hints[field.name] for field in dataclasses.fields(CallPlan)}


def _places(section: Section) -> list[tuple[str, str]]:
    from earwitness.geography import place

    if "places" not in section:
        section.wrong("places", "it is missing", 'list pairs of cities: places = [["Frankfurt", "New York"]]')
    pairs: list[tuple[str, str]] = []
    for index, pair in enumerate(section.several("places", (), kind=list, what="pair") if "places" in section else ()):
        if len(pair) != 2 or not all(isinstance(city, str) for city in pair):
            section.wrong("places", f"{pair!r} is not a pair of cities", 'write ["Frankfurt", "New York"]', index)
            continue
        for position, city in enumerate(pair):
            try:
                place(city)
            except InputError as error:
                section.wrong("places", *_said(error), index, position)
        pairs.append((pair[0], pair[1]))
    section.know("places")
    return pairs


def _check_each(section: Section, key: str, values: list[str], check: Callable[[str], object]) -> None:
    for index, value in enumerate(values):
        if value in values[:index]:
            section.wrong(key, f"{value!r} is there twice", "leave one out; for more calls raise design.repeats", index)
        try:
            check(value)
        except EarwitnessError as error:
            section.wrong(key, *_said(error), index)


def _check_codec(spec: str) -> None:
    from earwitness.speech.codecs.registry import codec

    codec(spec)


def _check_speech(spec: str, seconds: float | None) -> None:
    from earwitness.speech.reference import DEFAULT_SPEECH, speech

    speech(spec or DEFAULT_SPEECH, 8000, seconds)


def _check_buffer(spec: str) -> None:
    from earwitness.ear.buffers import buffer

    if spec:
        buffer(spec)


def _check_concealment(spec: str) -> None:
    CallPlan(concealment=spec).check()


def _check_link(spec: str) -> None:
    from earwitness.emulator.link_profile import LinkProfile

    LinkProfile().with_spec(spec)


def _only_option(axis: str, usual: str) -> Callable[[str], None]:
    """A check of an axis that calls have one value of, unless `CallPlan` knows the axis."""

    def check(value: str) -> None:
        if axis in _plan_fields():
            options: dict[str, Any] = {axis: value}
            CallPlan(**options).check()
        elif value != usual:
            raise InputError("planning with", f"{axis} {value!r}", "no call can be placed so", f'write "{usual}"')

    return check


# -- how it is run ---------------------------------------------------------------------------------------


def _design(section: Section) -> Design:
    repeats = section.integer("repeats", Design.repeats, 1, 100_000)
    compare = section.several("compare", Design().compare, kind=str, what="axis")
    for index, axis in enumerate(compare):
        if axis not in AXES:
            section.wrong("compare", f"{axis!r} is not an axis", f"choose of {', '.join(AXES)}", index)
    section.finish()
    return Design(repeats=repeats, compare=tuple(axis for axis in compare if axis in AXES))


def _stop(section: Section, design: Design) -> StopRule:
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


def _retry(section: Section) -> Retry:
    retry = Retry(
        own=section.integer("own", Retry.own, 1, 100),
        network=section.integer("network", Retry.network, 1, 100),
        instrument=section.integer("instrument", Retry.instrument, 1, 100),
        backoff_s=_float(section, "backoff_s", Retry.backoff_s, 0.0, 86400.0),
        factor=_float(section, "factor", Retry.factor, 1.0, 100.0),
    )
    section.finish()
    return retry


def _run(section: Section) -> Run:
    run = Run(at_once=section.integer("at_once", Run.at_once, 1, 16), adapt=section.flag("adapt", Run.adapt))
    section.finish()
    return run


def _budget(section: Section) -> Budget:
    budget = Budget(
        tor_mib=section.number("tor_mib", None, 0.0, 1e9),
        tor_mib_per_hour=section.number("tor_mib_per_hour", None, 0.001, 1e9),
        calls_per_hour=section.number("calls_per_hour", None, 0.001, 1e6),
    )
    section.finish()
    return budget


def _power(section: Section) -> Power:
    power = Power(
        measure=section.text("measure", Power.measure, MEASURES),
        sd=_float(section, "sd", Power.sd, 1e-9, 1e9),
        icc=_float(section, "icc", Power.icc, 0.0, 1.0),
        alpha=_float(section, "alpha", Power.alpha, 1e-6, 0.5),
        power=_float(section, "power", Power.power, 0.5, 0.9999),
    )
    section.finish()
    return power


def _watch(section: Section) -> Watch:
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


def _said(error: EarwitnessError) -> tuple[str, str]:
    """What another part said of a value, as a complaint has it."""
    return f"{error.tried} {error.on}: {error.happened}", error.remedy
