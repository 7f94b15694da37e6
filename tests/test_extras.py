"""What a command says whose extra is not installed, and that each extra brings what its commands need."""

from __future__ import annotations

import pickle
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from earwitness.errors import InputError
from earwitness.extras import NEEDED_FOR, NOT_PARTS, MissingExtra, extras, missing, naming_extras, need

REPOSITORY = Path(__file__).resolve().parents[1]
WITHOUT = REPOSITORY / "testing" / "without.py"


def run_without(there: str, command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", str(WITHOUT), there, *shlex.split(command)],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("command", "wanted"),
    [
        ("answer", "lab"),
        ("bundle data --out b.tar.gz --no-figures", "data"),
        ("call --path direct", "lab"),
        ("cluster init keys", "cluster"),
        ("demo", "lab,report"),
        ("hear x.pcap --ledger x.parquet", "data"),
        ("query data 'select 1'", "query"),
        ("report data", "report"),
        ("study run s.toml --out data --no-report", "lab"),
        ("watch s.toml", "watch"),
        ("whatif data", "report"),
    ],
)
def test_a_command_names_the_extra_that_it_needs_in_one_line(command: str, wanted: str, tmp_path: Path) -> None:
    done = run_without("", command, tmp_path)
    assert done.returncode == InputError.exit_code
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith(f"earwitness: running earwitness {command.split()[0]}")
    assert lines[0].endswith(f"; pip install 'earwitness[{wanted}]'")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("there", "command", "exit_code", "said"),
    [
        # Each goes on with what its extra brings, until it finds that what it was given is not there.
        ("data", "compare data", 2, "data"),
        ("query", "query data 'select 1'", 2, "data"),
        ("report", "report data", 2, "data"),
        ("report", "whatif data", 2, "data"),
        ("lab", "study init s.toml", 0, "study plan s.toml"),
        ("lab", "path config --server 192.0.2.1", 0, "openvpn"),
        ("cluster", "cluster init keys", 0, "keys"),
    ],
)
def test_each_extra_brings_what_its_commands_need(
    there: str, command: str, exit_code: int, said: str, tmp_path: Path
) -> None:
    done = run_without(there, command, tmp_path)
    assert "needs the extra" not in done.stderr
    assert done.returncode == exit_code, done.stderr
    assert said in done.stdout + done.stderr


def test_the_extras_are_those_of_the_project_and_each_has_a_purpose() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(extras()) == set(project) - NOT_PARTS == set(NEEDED_FOR)
    written = {re.split(r"[^\w.-]", line)[0] for lines in project.values() for line in lines} - {"earwitness"}
    for extra, modules in extras().items():
        assert modules, extra
        assert set(modules) <= {name.replace("-", "_") for name in written}
        assert missing(extra) == (), "the tests run with everything installed: make setup-dev"
    everything = {module for modules in extras().values() for module in modules}
    assert everything == {
        re.split(r"[^\w.-]", line)[0].replace("-", "_")
        for extra, lines in project.items()
        if extra not in NOT_PARTS
        for line in lines
        if not line.startswith("earwitness[")
    }


def test_need_is_silent_where_all_is_installed_and_names_only_what_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    need("data", "report", tried="reading", on="x")
    monkeypatch.setattr("earwitness.extras.find_spec", lambda name: None if name == "matplotlib" else object())
    with pytest.raises(MissingExtra) as raised:
        need("data", "report", tried="reading", on="x")
    assert raised.value.extras == ("report",)
    assert raised.value.modules == ("matplotlib",)
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)


def test_a_failed_import_is_named_by_the_smallest_extra_that_has_it_and_others_pass() -> None:
    with pytest.raises(MissingExtra, match=r"pip install 'earwitness\[data\]'"), naming_extras("reading", "x"):
        raise ModuleNotFoundError("No module named 'pandas.core'", name="pandas.core")
    with pytest.raises(ModuleNotFoundError, match="of_nobody"), naming_extras("reading", "x"):
        raise ModuleNotFoundError("No module named 'of_nobody'", name="of_nobody")
