"""A host without a namespace."""

from __future__ import annotations

import pytest

from testing.netns.loopback_host import LoopbackHost


@pytest.fixture
def host() -> LoopbackHost:
    return LoopbackHost("here", "127.0.0.1")
