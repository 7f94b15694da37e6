"""Reads the tables of a study file for what varies: paths, axes, and the options that all calls share.

`CallPlan` alone decides which options are valid. Its errors name the faulty setting, and this module finds that
setting's place in the file.
"""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Callable, Iterable
from typing import Any

from earwitness.call.plan import CallPlan, InStudy
from earwitness.errors import EarwitnessError, InputError
from earwitness.geography import place
from earwitness.study.checked import Section
from earwitness.study.model import Arm, Axes

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
"""Valid names of studies and of their paths."""
NO_NAME_REMEDY = 'give a name of letters, digits, _ and -, at most 40, such as name = "tor3"'

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
"""The options that axes, the study itself and its [call] table set; all others belong to a path."""
_SOME_STUDY = InStudy(study="checked", block="1.1", arm="checked")


def call_options(section: Section) -> dict[str, Any]:
    """The options that all calls share, named as in `CallPlan`; invalid ones are noted and left out."""
    options = _options(section, _OF_CALL)
    return _without_faults(options, section.refuse)


def axes(top: Section, call: dict[str, Any]) -> Axes | None:
    """All axes, each value checked with each path; None if no valid path or no valid pair of places remains."""
    arms = _arms(top.sections("path"), call)
    if not arms:
        top.wrong("path", "no path is given", 'add a table: [[path]] with name = "direct" and path = "direct"')
    section = top.section("axes")
    places = _places(section)
    chosen: dict[str, tuple[str, ...]] = {}
    for key in (field.name for field in dataclasses.fields(Axes) if field.name not in ("path", "places")):
        fallback = next(field.default for field in dataclasses.fields(Axes) if field.name == key)
        default = () if fallback is dataclasses.MISSING else fallback
        if not default and key not in section:
            section.wrong(key, "it is missing", f'list the values to measure: {key} = ["g711u", "opus:24000"]')
        values = section.several(key, default or ("g711u",), kind=str, what=f"{key} (in quotes)")
        _check_each(section, key, values, _check(key, arms, call))
        chosen[key] = tuple(values)
    section.finish()
    return Axes(path=tuple(arms), places=tuple(places), **chosen) if arms and places else None


def _arms(sections: Iterable[Section], call: dict[str, Any]) -> list[Arm]:
    arms: list[Arm] = []
    for section in sections:
        name = section.text("name", "")
        if not NAME.fullmatch(name):
            section.wrong("name", f"{name!r} cannot name a path" if name else "it is missing", NO_NAME_REMEDY)
        if name in [arm.name for arm in arms]:
            section.wrong("name", f"{name!r} is there twice", "give each path a name of its own")
        reserved = {*_OF_AXES, *_OF_STUDY, *_OF_CALL}
        options = _options(section, [key for key in _plan_fields() if key not in reserved])
        if "path" not in options:
            section.wrong("path", "it is missing", 'say how the datagrams travel: path = "direct" or path = "tor"')
        else:
            _check_arm(section, call, options)
        arms.append(Arm(name, options))
    return arms


def _check_arm(section: Section, call: dict[str, Any], options: dict[str, Any]) -> None:
    """Note faults in a path's options, alone and combined with the shared ones."""

    def wrong(error: InputError) -> None:
        if error.setting in call and error.setting not in options:
            section.faults.add(("call", error.setting), error.clause, error.advice)
        else:
            section.refuse(error)

    _without_faults({**call, **options}, wrong)


def _without_faults(options: dict[str, Any], wrong: Callable[[InputError], None]) -> dict[str, Any]:
    """The options that `CallPlan` accepts. Each rejected one is noted and left out, to find the next fault."""
    left = dict(options)
    while True:
        try:
            CallPlan(**left)
        except InputError as error:
            wrong(error)
            if error.setting not in left:
                return left
            del left[error.setting]
        else:
            return left


def _options(section: Section, allowed: Iterable[str]) -> dict[str, Any]:
    """The options in `allowed`, each checked against its type in `CallPlan`."""
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
    section.finish()
    return chosen


def _names(section: Section, key: str) -> tuple[str, ...]:
    """A list of names, each checked alone; empty if the key is absent."""
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
    """The options of a call, with their types."""
    hints = typing.get_type_hints(CallPlan)
    return {field.name: hints[field.name] for field in dataclasses.fields(CallPlan)}


def _places(section: Section) -> list[tuple[str, str]]:
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
                section.wrong("places", error.clause, error.advice, index, position)
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
            section.wrong(key, error.clause, error.advice, index)


def _check(axis: str, arms: list[Arm], call: dict[str, Any]) -> Callable[[str], None]:
    """A check of one value of an axis, alone and with each path."""

    def check(value: str) -> None:
        given: dict[str, Any] = {axis: value}
        CallPlan(**given, study=_SOME_STUDY).check()
        if axis == "speech":
            _check_speech(value, call.get("seconds"))
        for arm in arms:
            try:
                CallPlan(**{**call, **arm.options, **given}, study=_SOME_STUDY)
            except InputError as error:
                if error.setting == axis:
                    raise

    return check


def _check_speech(spec: str, seconds: float | None) -> None:
    from earwitness.speech.reference import DEFAULT_SPEECH, speech

    speech(spec or DEFAULT_SPEECH, 8000, seconds)
