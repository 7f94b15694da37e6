"""What `earwitness doctor` says of a machine on which nothing is installed."""

from __future__ import annotations

import ctypes
import re
import shutil
from importlib import metadata
from pathlib import Path

import pytest

from earwitness.doctor import examine

SETUP = Path(__file__).parents[1] / "tools" / "setup"
NOT_SEEN = {"util-linux", "libc6-dev", "python3-dev", "python3-venv", "git", "make"}
"""Without these there is no doctor yet, or no system that it runs on."""


def packages() -> set[str]:
    lines = re.findall(r'packages="(?:\$packages )?([^"]+)"', SETUP.read_text())
    return {name for line in lines for name in line.split()}


def test_everything_that_setup_installs_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(shutil, "which", lambda *_a, **_k: None)
    monkeypatch.setattr(ctypes, "CDLL", refuse)
    checks = {check.name: check for check in examine()}
    missing = [check for check in checks.values() if not check.ok]
    assert len(missing) > 5
    assert all(check.remedy for check in missing)
    told = {word for check in missing for word in check.remedy.split()}
    assert len(packages()) > 12
    assert packages() - NOT_SEEN <= told
    assert {"chromium", "prometheus"} <= told
    assert [checks[name].required for name in ("tor", "libgsm", "openvpn", "chromium")] == [True, True, False, False]


@pytest.mark.parametrize(
    ("package", "named", "remedy"),
    [
        ("soxr", "Python packages", r"-m pip install 'soxr[>=.\d]+'$"),
        ("duckdb", "extra query", r"-m pip install 'earwitness\[query\]'$"),
    ],
)
def test_a_python_package_that_is_gone_is_named(
    package: str, named: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = metadata.version

    def gone(name: str) -> str:
        if name == package:
            raise metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(metadata, "version", gone)
    checks = {check.name: check for check in examine()}
    assert not checks[named].ok
    assert package in checks[named].detail
    assert re.search(remedy, checks[named].remedy)
    assert [check.name for check in checks.values() if package in check.detail] == [named]
    assert checks[named].required == (named == "Python packages")
