"""What records, far phones and names hold does nothing to a terminal, and markup in it is text."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.live import Live
from rich.panel import Panel
from rich.progress import Progress, TextColumn
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from earwitness.archive.dataset import Dataset
from earwitness.archive.facts import CallParty
from earwitness.archive.record import CallRecord, write_record
from earwitness.archive.schema import Row
from earwitness.cli.terminal import DataConsole, SafeConsole
from earwitness.errors import Outcome
from earwitness.path.facts import CircuitFacts, Hop
from testing.commands import EARWITNESS

ACTING = (
    "\x1b]0;mine\x07 \x1b]52;c;ZXZpbA==\x07 \x1b[2J \x1b[31m \x9b2J \x9d0;x\x9c \r\b\x7f \u202egpj.\u2066 \u2028"
    " \x00\x0b\x0c"
)
SHOWN = r"\x1b]0;mine\x07 \x1b]52;c;ZXZpbA==\x07 \x1b[2J \x1b[31m \x9b2J \x9d0;x\x9c \x0d\x08\x7f \u202egpj.\u2066"
MARKUP = "[red]a[/red] [/] [link=http://e.example]b [[c]] :smile:"


def acts(text: str, but: Sequence[str] = ()) -> list[str]:
    """The characters of `text` that a terminal obeys, without the sequences `but`."""
    for sequence in but:
        text = text.replace(sequence, "")
    acting = {*map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0)), *"\u202e\u2066\u2028"} - {"\n", "\t"}
    return sorted(acting & set(text))


def drawn(*what: object, terminal: bool = False) -> str:
    file = io.StringIO()
    console = DataConsole(file=file, width=400, force_terminal=terminal, color_system="standard" if terminal else None)
    console.print(*what)
    return file.getvalue()


def test_a_string_is_printed_as_it_is_and_does_nothing() -> None:
    assert drawn(ACTING).startswith(SHOWN)
    assert not acts(drawn(ACTING))
    assert drawn(MARKUP) == MARKUP + "\n"
    assert drawn("São Paulo – Tōkyō ✓\ttab\nline").split() == ["São", "Paulo", "–", "Tōkyō", "✓", "tab", "line"]
    assert drawn("half \ud800 and a byte \udcff") == "half \\ud800 and a byte \\udcff\n"


def test_nor_does_it_in_what_is_built_of_strings() -> None:
    table = Table(f"{MARKUP}{ACTING}", title=f"{MARKUP}{ACTING}", caption=ACTING)
    table.add_row(f"{MARKUP}{ACTING}")
    table.add_row(Text(ACTING))
    tree = Tree(ACTING)
    tree.add(ACTING)
    for made in (table, tree, Panel(Text(ACTING)), Text.assemble((ACTING, "red"), ACTING)):
        text = drawn(made)
        assert not acts(text), made
        assert r"\x1b[2J" in text, made
    assert drawn(table).count(MARKUP) == 3, "heading, title and cell"


def test_the_width_of_what_is_shown_is_counted() -> None:
    table = Table()
    table.add_row("\x1b" * 10, "next")
    lines = drawn(table).splitlines()
    assert len({len(line) for line in lines}) == 1, "every line of the table is as wide as the others"


def test_styles_of_our_own_stay_and_cover_what_they_covered() -> None:
    text = drawn(Text.assemble(("problem:", "red"), " a\x1bb", (" \x9b!", "bold")), terminal=True)
    assert text.replace("\x1b[0m\x1b[1m", "") == "\x1b[31mproblem:\x1b[0m a\\x1bb\x1b[1m \\x9b!\x1b[0m\n"


def test_lines_that_change_do_nothing_either() -> None:
    file = io.StringIO()
    console = DataConsole(file=file, width=200, force_terminal=True, color_system=None)
    with Progress(TextColumn("{task.fields[now]}", markup=False), console=console, auto_refresh=False) as bar:
        bar.add_task("x", now=f"{MARKUP}{ACTING}")
        bar.refresh()
    with Live(Text(ACTING), console=console, auto_refresh=False):
        pass
    with console.status(f"{MARKUP}{ACTING}") as line:
        line.update(f"{MARKUP}{ACTING}")
    text = file.getvalue()
    assert not acts(text, but=("\x1b[?25l", "\x1b[?25h", "\x1b[2K", "\x1b[1A", "\x1b[0K", "\r"))
    assert text.count(MARKUP) >= 2


def test_markup_is_not_to_be_had_even_when_it_is_asked_for() -> None:
    file = io.StringIO()
    DataConsole(file=file, width=200).print(MARKUP, markup=True, emoji=True)
    assert file.getvalue() == MARKUP + "\n"
    SafeConsole(file=file, width=200).print("[b]of Typer's own[/b]")
    assert file.getvalue().endswith("\nof Typer's own\n")


# -- the commands themselves ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set whose every text acts."""
    out = tmp_path_factory.mktemp("hostile") / "data"
    words = f"{MARKUP}{ACTING}"
    with Dataset.open_or_create(out) as dataset:
        for call_id, outcome in (("a", Outcome.COMPLETED), ("b", Outcome.CALL_REJECTED)):
            with dataset.new_call(call_id) as folder:
                rows = tuple(
                    Row(
                        call_id=call_id,
                        started_at=words,
                        network=words,
                        path=words,
                        codec=words,
                        from_place=words,
                        to_place=words,
                        outcome=str(outcome),
                        outcome_detail=words,
                        direction=direction,
                        verdict=words if outcome == "completed" else "failed",
                        verdict_reason=words,
                        mos_lqo=1.5,
                        doubts="=1+1",
                        instrument_ok=False,
                        instrument_detail=words,
                    )
                    for direction in ("to_callee", "to_caller")
                )
                record = CallRecord(
                    call_id=call_id,
                    started_at=words,
                    outcome=outcome,
                    outcome_detail=words,
                    circuit=CircuitFacts(relays=(Hop(nickname=words),)),
                    caller=CallParty(place=words),
                    notes=(words,),
                    rows=rows,
                )
                write_record(folder, record)
    return out


def on_a_terminal(*arguments: str | bytes) -> str:
    """What a command writes to its terminal, bytes that are no UTF-8 as surrogates."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "130", "NO_COLOR": "1"}
    with subprocess.Popen([*EARWITNESS, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env=environment):
        os.close(theirs)
        parts = []
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the last that had it open is gone
                break
            if not part:
                break
            parts.append(part)
    os.close(ours)
    return b"".join(parts).decode("utf-8", "surrogateescape").replace("\r\n", "\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ("query", "DATA", "SELECT outcome_detail, path, doubts FROM calls"),
        ("query", "DATA", 'SELECT outcome_detail AS "[/a]\x1b[2J" FROM calls'),
        ("query", "DATA", "--csv", "SELECT outcome_detail, path, doubts FROM calls"),
        ("query", "DATA", "--json", "SELECT outcome_detail, path, doubts FROM calls"),
        ("query", "DATA", "SELECT [/]\x1b[2J\x9b"),
        ("report", "DATA", "--json"),
        ("report", "DATA"),
        ("compare", "DATA", "--by", "\x1b[2J[/]"),
        ("score", "/nowhere/\x1b]0;x\x07[/x]\u202e.wav", "/nowhere/b.wav"),
        ("\x1b[2J[/]\x9b",),
        ("query", "DATA", "x", "--\x1b[2J\x9b"),
        ("compare", "DATA", "--resamples", "\x1b[2J[/]\x9b"),
    ],
)
def test_no_command_lets_it_act(hostile: Path, arguments: tuple[str, ...]) -> None:
    text = on_a_terminal(*(str(hostile) if argument == "DATA" else argument for argument in arguments))
    assert text.strip()
    assert "Traceback" not in text
    assert not acts(text, but=("\x1b[?25l", "\x1b[?25h", "\x1b[1m", "\x1b[2m", "\x1b[0m", "\x1b[1;2m"))


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
def test_records_are_json_whatever_the_stream_holds(hostile: Path, encoding: str) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    sql = "SELECT path AS \"päth\" FROM calls WHERE call_id = 'a'"
    done = subprocess.run([*EARWITNESS, "query", str(hostile), "--json", sql], capture_output=True, env=environment)
    assert done.returncode == 0, done.stderr.decode()
    text = done.stdout.decode(encoding)
    assert not acts(text)
    assert text.count("\n") > 0
    for line in text.splitlines():
        assert json.loads(line)["päth"] == f"{MARKUP}{ACTING}"
    assert ("päth" in text) is (encoding == "utf-8")


def test_half_a_pair_is_json_too(capfd: pytest.CaptureFixture[str]) -> None:
    from earwitness.cli.common import print_records

    print_records([{"path": "\udcff", "words": "\ud83d [/]"}])
    assert json.loads(capfd.readouterr().out) == {"path": "\udcff", "words": "\ud83d [/]"}


def test_a_fault_of_ours_is_told_without_acting() -> None:
    program = (
        "import earwitness.doctor, sys\n"
        "words = sys.argv.pop()\n"
        "def examine(): raise RuntimeError(words)\n"
        "earwitness.doctor.examine = examine\n"
        "sys.argv = ['earwitness', 'doctor']\n"
        "from earwitness.cli.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", program, f"{MARKUP}\x1b[2J\x9b"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert f"RuntimeError: {MARKUP}\\x1b[2J\\x9b" in done.stderr
    assert not acts(done.stderr)


def test_nor_does_what_libraries_say() -> None:
    program = (
        "import earwitness.doctor as d, logging, sys\n"
        "def examine():\n    logging.getLogger('any').warning('far: %s', '\\x1b[2J'); return []\n"
        "d.examine = examine\n"
        "sys.argv = ['earwitness', 'doctor']\n"
        "from earwitness.cli.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "far: \\x1b[2J" in done.stderr
    assert not acts(done.stderr)
