"""A host without a namespace: processes run where the tests run, on loopback addresses."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest


@dataclass
class LoopbackHost:
    name: str
    address: str
    place: str = "Berlin"
    interface: str = "lo"

    def popen(self, argv: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(argv, **options)

    @contextmanager
    def inside(self) -> Iterator[None]:
        yield


@pytest.fixture
def host() -> LoopbackHost:
    return LoopbackHost("here", "127.0.0.1")
