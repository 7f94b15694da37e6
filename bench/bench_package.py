"""The package in a fresh virtual environment outside of the checkout: what it takes on the disk, and that it works."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench.measure import Measurement
from testing.whole_call import make_call

BEFORE = 927_391_084
"""Bytes that version 0.1.0 added to a fresh environment of Python 3.11 when it had no extras (2026-11-30)."""
_COMMANDS = {
    "timing": ("timing", "call.pcap", "--json"),
    "hear": ("hear", "call.pcap", "--reference", "carlo-10s", "--out", "heard.wav", "--json"),
    "score": ("score", "said.wav", "said.wav", "--json"),
    "doctor": ("doctor", "--json"),
}


def bench_install() -> list[Measurement]:
    """Bar 3 of the package: the core takes less than half of what everybody needed before, and its commands work."""
    found: list[Measurement] = []
    with tempfile.TemporaryDirectory(prefix="earwitness-package-") as name:
        folder = Path(name)
        wheel = _wheel(folder)
        found.append(Measurement("wheel", wheel.stat().st_size, "bytes", note=wheel.name))
        core = _install(folder, wheel, "")
        size = core.added
        found.append(Measurement("core, installed", size, "bytes", BEFORE / 2, note=f"{size / BEFORE:.1%} of before"))
        make_call(folder)
        for command, arguments in _COMMANDS.items():
            done = core.run(*arguments)
            worked = bool(done.stdout) and all(map(json.loads, done.stdout.splitlines())) and not done.stderr
            note = f"exit code {done.returncode}; {done.stderr.strip()[-200:]}"
            found.append(Measurement(f"{command} works", worked, "", 1, at_most=False, note=note))
        refused = core.run("report", "data")
        line = refused.stderr.strip()
        named = refused.returncode == 2 and "\n" not in line and line.endswith("pip install 'earwitness[report]'")
        found.append(Measurement("report names its extra in one line", named, "", 1, at_most=False, note=line))
        everything = _install(folder, wheel, "all")
        note = f"{everything.added / BEFORE:.1%} of before"
        found.append(Measurement("all extras, installed", everything.added, "bytes", note=note))
        done = everything.run("demo", "--out", "data")
        made = (folder / "data" / "report.html").exists()
        found.append(Measurement("demo works with all", done.returncode == 0 and made, "", 1, at_most=False))
    return found


@dataclass(frozen=True)
class _Environment:
    folder: Path
    """Where its commands run."""
    python: Path
    added: int
    """Bytes of files that the installation added."""

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.python.with_name("earwitness")), *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )


def _wheel(folder: Path) -> Path:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder / "dist")],
        cwd=Path(__file__).parents[1],
        check=True,
        capture_output=True,
    )
    (wheel,) = (folder / "dist").iterdir()
    return wheel


def _install(folder: Path, wheel: Path, extra: str) -> _Environment:
    """A fresh environment with the wheel in it, from an index: needs the network."""
    where = folder / f"venv-{extra or 'core'}"
    subprocess.run([sys.executable, "-m", "venv", str(where)], check=True)
    python = where / "bin" / "python"
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(where), "platbase": str(where)}))
    before = _size(packages)
    wanted = f"{wheel}[{extra}]" if extra else str(wheel)
    pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", wanted]
    subprocess.run(pip, check=True, cwd=folder, stderr=subprocess.DEVNULL)
    return _Environment(folder, python, _size(packages) - before)


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*"))
