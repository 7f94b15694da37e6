"""Put as `sitecustomize` before a Python that has everything: nothing but what the wheel's core declares is there."""

from __future__ import annotations

import re
from importlib import metadata

from packaging.requirements import Requirement

HOOK = '''"""Refuses what the core does not declare, in this process and in those that it starts."""
import sys

REFUSED = frozenset({refused!r})


class Undeclared:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in REFUSED:
            raise ModuleNotFoundError(f"No module named {{name!r}}: the core does not declare it", name=name)


sys.meta_path.insert(0, Undeclared())
'''


def declared(requirements: list[str]) -> set[str]:
    """Normalised names of the distributions that these need, and that those need, on this Python, without extras."""
    found: set[str] = set()
    waiting = [Requirement(line) for line in requirements]
    while waiting:
        requirement = waiting.pop()
        name = _normal(requirement.name)
        wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if wanted and name not in found:
            found.add(name)
            waiting += [Requirement(line) for line in metadata.requires(name) or ()]
    return found


def hook(requirements: list[str]) -> str:
    """The text of a sitecustomize.py under which only distributions that `requirements` declare can be imported."""
    core = declared(requirements)
    refused = sorted(
        module
        for module, owners in metadata.packages_distributions().items()
        if module != "earwitness" and not {_normal(owner) for owner in owners} & core
    )
    return HOOK.format(refused=refused)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
