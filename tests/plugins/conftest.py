"""The example package, installed as a user installs a plug-in."""

from __future__ import annotations

from pathlib import Path

import pytest

from testing.plugins.installed import EXAMPLE, Command, command_with, install


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the example package is installed in."""
    return install(EXAMPLE, tmp_path_factory.mktemp("example"))


@pytest.fixture(scope="session")
def plugged(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Command:
    """Run `earwitness ARGUMENTS` where the example package is installed."""
    return command_with(installed, tmp_path_factory.mktemp("runtime"))
