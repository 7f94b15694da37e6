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


def test_a_python_package_that_is_gone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    version = metadata.version

    def gone(name: str) -> str:
        if name == "duckdb":
            raise metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(metadata, "version", gone)
    (check,) = [check for check in examine() if check.name == "Python packages"]
    assert not check.ok
    assert "duckdb" in check.detail
    assert re.search(r"-m pip install 'duckdb[>=.\d]+'$", check.remedy)
