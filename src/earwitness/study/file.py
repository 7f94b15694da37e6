"""Reads the study file (TOML), and reports all its faults at once, each with line and remedy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from earwitness.errors import InputError
from earwitness.files import MIB, read_text
from earwitness.lab.load.spec import LoadSpec
from earwitness.study.checked import Faults, FileFaults, Section
from earwitness.study.file_axes import NAME, NO_NAME_REMEDY, axes, call_options
from earwitness.study.file_settings import (
    read_budget,
    read_design,
    read_power,
    read_retry,
    read_run,
    read_stop,
    read_watch,
)
from earwitness.study.model import FILE_VERSION, Study
from earwitness.study.toml_lines import toml_lines
from earwitness.toml import parse_toml

NETWORKS = ("lab", "public")
"""`public`: between the vantages of a cluster, over the network that connects them."""
_MOST_CALLS = 1_000_000
MOST_BYTES = MIB // 4
"""Largest study file; even a long one is a hundred times smaller."""


@dataclass(frozen=True)
class StudyFile:
    """A study file, parsed and checked once."""

    text: str
    """The file's text, which is stored beside the calls."""
    source: Path | str
    """Its origin, for messages."""
    study: Study
    """The study to run: as the text describes it, or as `adapted` changed it."""
    adapt: Callable[[Study], Study] = field(default=lambda study: study, repr=False, compare=False)

    @classmethod
    def parse(cls, text: str, source: Path | str = "the study file") -> StudyFile:
        """Parse a study file's text; raises like `read_study_file`."""
        return cls(text, source, parse_study(text, source))

    def adapted(self, adapt: Callable[[Study], Study]) -> StudyFile:
        """The same file with its study changed by `adapt`, for example for one day of a watch."""
        return replace(self, study=adapt(self.study), adapt=lambda study: adapt(self.adapt(study)))


def read_study(path: Path) -> Study:
    """The study that a file describes; raises like `read_study_file`."""
    return read_study_file(path).study


def read_study_file(path: Path) -> StudyFile:
    """Read and check a study file.

    Raises:
        InputError: it cannot be read or is not TOML.
        FileFaults: it has faults; all of them are listed.
    """
    try:
        text = read_text(path, MOST_BYTES)
    except OSError as error:
        raise InputError("reading the study", path, error.strerror, "write one with `earwitness study init`") from error
    except UnicodeDecodeError as error:
        raise InputError("reading the study", path, f"it is not UTF-8 ({error})", "save it as UTF-8") from error
    return StudyFile.parse(text, path)


def parse_study(text: str, path: Path | str = "the study file") -> Study:
    """The study that a file's text describes; raises like `read_study_file`."""
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
    if not NAME.fullmatch(name):
        top.wrong("name", f"{name!r} cannot name a study" if name else "it is missing", NO_NAME_REMEDY)
    seed = top.integer("seed", 1, 0, 2**31 - 1)
    network = top.text("network", "lab", NETWORKS)
    call = call_options(top.section("call"))
    varied = axes(top, call)
    layout = read_design(top.section("design"))
    running = read_run(top.section("run"))
    settings: dict[str, Any] = {
        "stop": read_stop(top.section("stop"), layout),
        "retry": read_retry(top.section("retry")),
        "run": running,
        "budget": read_budget(top.section("budget")),
        "power": read_power(top.section("power")),
        "watch": read_watch(top.section("watch")),
    }
    top.finish()
    if varied is None:
        return None
    study = Study(name=name, seed=seed, network=network, axes=varied, call=call, design=layout, **settings)
    if running.at_once > 1 and any("relay_nodelay" in arm.options for arm in varied.path):
        top.faults.add(("run", "at_once"), "relay_nodelay changes relays that calls share", "write at_once = 1")
    if running.at_once > 1 and any(_is_load(load) for load in varied.load):
        top.faults.add(("run", "at_once"), "a load fills relays that calls share", "write at_once = 1")
    if study.calls > _MOST_CALLS:
        top.wrong("axes", f"{study.calls:,} calls", f"leave values out until there are {_MOST_CALLS:,} at most")
    return study


def _is_load(text: str) -> bool:
    try:
        return bool(LoadSpec.parse(text))
    except InputError:  # noted where the axis was read
        return False
