"""Checks that all machines of a cluster run the same Earwitness."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from earwitness.errors import InputError
from earwitness.plugins import packages

LIBRARIES = ("numpy", "scipy", "soxr", "pesq", "pyarrow", "distributed")
"""Libraries on which results, and the values exchanged, depend."""


@cache
def agreement() -> dict[str, str]:
    """What must be the same on all machines: Earwitness's version and sources, the libraries' versions, and those of
    the packages that add kinds."""
    digest = hashlib.sha256()
    root = Path(str(files("earwitness")))
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    ours = {"earwitness": version("earwitness"), "sources": digest.hexdigest()[:12]}
    return {**ours, **{name: version(name) for name in LIBRARIES}, **packages()}


def check_agreement(theirs: Mapping[str, Any] | None, where: str) -> None:
    """`InputError` if the cluster at `where` runs something else than this machine."""
    tried = ("joining the cluster at", where)
    if theirs is None:
        raise InputError(*tried, "its scheduler is not Earwitness's", "start it with `earwitness cluster schedule`")
    ours = agreement()
    differs = [
        f"{name} {theirs.get(name, '(none)')} there, {ours.get(name, '(none)')} here"
        for name in dict.fromkeys([*ours, *theirs])
        if theirs.get(name) != ours.get(name)
    ]
    if differs:
        raise InputError(*tried, "; ".join(differs), "install the same Earwitness on all machines of the cluster")
