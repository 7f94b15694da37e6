"""Packages that are built and installed by pip into a folder, as a user installs a plug-in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from testing.commands import EARWITNESS, REPOSITORY

EXAMPLE = REPOSITORY / "tests" / "plugins" / "earwitness_example"
OURS = REPOSITORY / "src"


@dataclass(frozen=True)
class Done:
    """What a command gave."""

    code: int
    out: str
    messages: str


Command = Callable[..., Done]


def install(package: Path, folder: Path) -> Path:
    """Install a package into `folder`, with nothing from elsewhere: no dependencies, no isolated build."""
    source = shutil.copytree(package, folder / "source")  # a build leaves things beside what it builds
    target = folder / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run(
        [*pip, "--disable-pip-version-check", "--target", str(target), str(source)],
        check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    return target


def command_with(site: Path, runtime: Path) -> Command:
    """Run `earwitness ARGUMENTS` where the packages in `site` are installed."""
    path = os.pathsep.join(filter(None, (str(OURS), str(site), os.environ.get("PYTHONPATH", ""))))

    def run(*arguments: str | Path, environment: Mapping[str, str] | None = None, timeout_s: float = 170.0) -> Done:
        done = subprocess.run(
            [*EARWITNESS, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env={
                **os.environ,
                "PYTHONPATH": path,
                "EARWITNESS_RUNTIME": str(runtime),
                "COLUMNS": "200",
                **(environment or {}),
            },
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    return run
