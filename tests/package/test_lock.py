"""The lock files: everything that the project asks for, each version by its hashes, and no place to get it from."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

REPOSITORY = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
LOCKED = re.compile(
    r"^([\w.-]+)==([\w.]+)(?: ; ([^\\]+))? \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.MULTILINE
)
PYTHONS = ("3.11", "3.12", "3.13")


def locked(name: str) -> tuple[str, list[tuple[Requirement, str]]]:
    text = (REPOSITORY / name).read_text()
    entries = []
    for package, version, marker, _ in LOCKED.findall(text):
        entries.append((Requirement(f"{package}=={version}" + (f"; {marker.strip()}" if marker else "")), version))
    return text, entries


def asked(dev: bool) -> list[Requirement]:
    extras = PROJECT["project"]["optional-dependencies"]
    lines = [*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["build"]]
    lines += [line for name, group in extras.items() if dev or name != "dev" for line in group]
    return [Requirement(line) for line in lines if not line.startswith("earwitness[")]


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_every_line_is_a_version_with_its_hashes(name: str) -> None:
    text, entries = locked(name)
    assert LOCKED.sub("", text) == ""
    assert len(entries) > 40
    assert "://" not in text


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_what_the_project_asks_for_is_locked_at_a_version_that_fits(name: str, python: str) -> None:
    _, entries = locked(name)
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
    }
    chosen = [
        (entry.name, version)
        for entry, version in entries
        if entry.marker is None or entry.marker.evaluate(environment)
    ]
    assert len({package for package, _ in chosen}) == len(chosen)
    versions = dict(chosen)
    wrong = [
        str(requirement)
        for requirement in asked("dev" in name)
        if not requirement.specifier.contains(versions.get(requirement.name, "0"), prereleases=True)
    ]
    assert wrong == [], f"{name} is older than pyproject.toml: run tools/lock"


def test_the_tests_run_with_the_versions_that_users_have() -> None:
    _, run = locked("requirements.lock")
    _, dev = locked("requirements-dev.lock")
    assert {str(entry) for entry, _ in run} <= {str(entry) for entry, _ in dev}
