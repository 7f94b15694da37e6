"""Plug-ins that cannot be used: one clear line for whoever asks for them, and nothing for anybody else."""

from __future__ import annotations

from pathlib import Path

import pytest

from earwitness.speech.reference import speech
from earwitness.speech.wav import write_wav
from testing.plugins.installed import Command, command_with, install

STRANGE = Path(__file__).parent / "strange"


@pytest.fixture(scope="module")
def strange(tmp_path_factory: pytest.TempPathFactory) -> Command:
    folder = tmp_path_factory.mktemp("strange")
    return command_with(install(STRANGE, folder), folder)


@pytest.fixture
def said(tmp_path: Path) -> Path:
    found = speech("allison-10s", 8000)
    write_wav(tmp_path / "said.wav", found.samples, 8000)
    return tmp_path / "said.wav"


def test_a_list_has_what_works_and_a_line_for_each_that_does_not(strange: Command) -> None:
    done = strange("kinds")
    assert done.code == 0
    assert "plain" in done.out
    assert "boom" not in done.out
    lines = done.messages.splitlines()
    assert len(lines) == 6
    package = "earwitness-strange 0.3"
    for expected in (
        f"the codec boom of {package}: ModuleNotFoundError: No module named 'a_library_that_is_not_installed'",
        f"the codec g711u of {package}: the name is taken by a built-in one",
        f"the codec alias of {package}: earwitness_strange.kinds:PLAIN calls itself 'plain'",
        f"the jitter buffer number of {package}: earwitness_strange.kinds:NUMBER has type int, not BufferKind",
        f"the scorer quits of {package}: SystemExit: this module ends whoever imports it",
        f"the path nowhere of {package}: AttributeError:",
    ):
        assert sum(expected in line for line in lines) == 1, expected


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--scorer", "quits"), "SystemExit: this module ends"),
        (("--scorer", "crashes"), "scoring with crashes: ZeroDivisionError: division by zero"),
        (("--scorer", "endless"), "its figure is inf"),
        (
            ("--scorer", "nosuch"),
            "no scorer has that name; use one of: pesq, pesq-wb, e-model, dnsmos, plcmos, crashes",
        ),
    ],
)
def test_who_asks_for_it_is_told_in_one_line(
    strange: Command, said: Path, arguments: tuple[str, ...], why: str
) -> None:
    done = strange("score", said, said, *arguments)
    assert done.code in (1, 2)
    assert done.out == ""
    (line,) = done.messages.splitlines()
    assert why in line


@pytest.mark.parametrize(
    ("option", "value", "why"),
    [
        ("--codec", "boom", "loading the codec boom: ModuleNotFoundError"),
        ("--buffer", "number", "has type int, not BufferKind"),
        ("--path", "nowhere", "loading the path nowhere: AttributeError"),
        ("--scorer", "mos_lqo", "a column of every call has this name"),
    ],
)
def test_no_call_begins_with_it(strange: Command, tmp_path: Path, option: str, value: str, why: str) -> None:
    done = strange("call", option, value, "--out", tmp_path / "data")
    assert done.code == 2
    (line,) = done.messages.splitlines()
    assert why in line
    assert "earwitness-strange 0.3" in line or value == "mos_lqo"
    assert not (tmp_path / "data").exists()


def test_nobody_else_notices(strange: Command, said: Path) -> None:
    done = strange("score", said, said)
    assert (done.code, done.messages) == (0, "")
    assert "4.549" in done.out
