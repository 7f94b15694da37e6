"""The help of every command: sentences, panels, units and defaults."""

from __future__ import annotations

import re

import pytest
from typer.core import TyperArgument, TyperOption

from earwitness.cli import call_options, panels
from earwitness.geography import INFLATION
from testing.cli.command_line import all_commands, output

COMMANDS = all_commands()
PANELS = {
    value
    for module in (panels, call_options)
    for name, value in vars(module).items()
    if name.isupper() and isinstance(value, str)
}
UNITS = re.compile(
    r"\b(s|ms|Hz|Mbit/s|KiB|seconds|days|port|seed|number|relays|datagrams|processes|calls|ratio|decimals|resamples)\b",
    re.IGNORECASE,
)
DIALECT = re.compile(r"\b(likewise|told|tells|away|beside|nobody|is to be|had)\b", re.IGNORECASE)


def options(name: str) -> list[TyperOption]:
    return [one for one in COMMANDS[name].params if isinstance(one, TyperOption) and one.name != "help"]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_command_begins_with_what_it_does(name: str) -> None:
    text = COMMANDS[name].help or ""
    assert text[:1].isupper()
    for paragraph in text.split("\n\n"):
        assert "\n" not in paragraph, "the terminal breaks lines, not the source"
        assert paragraph.rstrip().endswith((".", '".'))
    first_word = text.split()[0]
    assert not first_word.endswith(("s", "ing")) or first_word == "Compress", f"not an imperative: {first_word}"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_is_its_unit_and_its_default(name: str) -> None:
    for one in options(name):
        text = one.help or ""
        assert text[:1].isupper(), f"{one.opts[0]}: {text!r}"
        assert text.endswith("."), f"{one.opts[0]}: {text!r}"
        shown = one.show_default and one.default not in (None, "") and one.default is not False
        flag = one.is_flag and one.default is False
        assert one.required or shown or flag or "Default: " in text or " 0: " in text, f"{one.opts[0]}: no default"
        if one.type_descriptor.annotation in (int, float):
            assert UNITS.search(text), f"{one.opts[0]}: of what? {text!r}"
        if one.opts[0] != "--keys":
            assert not DIALECT.search(text.replace("beside each call", "").replace("none beside them", "")), text


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_stands_in_a_panel(name: str) -> None:
    for one in options(name):
        assert one.rich_help_panel in PANELS, f"{one.opts[0]}: {one.rich_help_panel}"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_argument_is_explained(name: str) -> None:
    for one in COMMANDS[name].params:
        if isinstance(one, TyperArgument):
            assert (one.help or "").endswith((".", "..."))


def test_the_same_option_has_the_same_help_everywhere() -> None:
    texts: dict[str, set[str]] = {}
    for name in COMMANDS:
        for one in options(name):
            texts.setdefault(one.opts[0], set()).add(one.help or "")
    for option in ("--json", "--workers", "--resamples", "--store", "--seed"):
        limit = 3 if option == "--seed" else 1  # of everything, of a network, of resampling
        assert len(texts[option]) <= limit, texts[option]


def test_defaults_that_are_written_out_are_the_real_ones() -> None:
    (inflation,) = [one for one in options("lab up") if one.name == "inflation"]
    assert f"Default: {INFLATION:g}." in (inflation.help or "")


def test_help_is_printed_with_its_panels() -> None:
    text = output("call", "--help")
    for panel in ("Path", "Tor circuit", "Speech and codec", "SIP server", "Lab", "Result"):
        assert f"─ {panel} ─" in text
    top = output("--help")
    for panel in (panels.CALLS, panels.RECORDINGS, panels.DATASETS, panels.STUDIES, panels.MACHINE):
        assert f"─ {panel} ─" in top
