"""Templates and assets of the HTML pages. Everything inserted into a page is escaped."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template


def asset(name: str) -> str:
    """A text file of the package's assets."""
    return files("earwitness.report").joinpath("assets", name).read_text(encoding="utf-8")


@cache
def template(name: str) -> Template:
    """A template, compiled once, because that takes longer than rendering. An undefined name in it is an error."""
    return _environment().get_template(name)


@cache
def _environment() -> Environment:
    return Environment(
        loader=FunctionLoader(asset), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
