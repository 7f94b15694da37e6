"""A host without a namespace: its processes run where the tests run, on a loopback address."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from earwitness.netns.owned import start_owned


@dataclass
class LoopbackHost:
    name: str
    address: str
    place: str = "Berlin"
    interface: str = "lo"

    def popen(self, argv: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
        return start_owned(argv, **options)

    @contextmanager
    def inside(self) -> Iterator[None]:
        yield
