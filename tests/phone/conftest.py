"""Hosts without namespaces: phones run where the tests run, each on a loopback address of its own."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from typing import Any

import pytest

from earwitness.capture.live import epoch_offset_ns
from earwitness.phone.setup import PhoneSetup
from testing.netns.loopback_host import LoopbackHost

_numbers = itertools.count(1)


def _address() -> str:
    """An address in 127/8 that no other test process uses at this moment."""
    number = next(_numbers)
    return f"127.{64 + os.getpid() % 128}.{os.getpid() // 128 % 256}.{number}"


@pytest.fixture
def new_host() -> Callable[[str], LoopbackHost]:
    return lambda name: LoopbackHost(name, _address())


@pytest.fixture
def setup_of() -> Callable[..., PhoneSetup]:
    """A setup for a host, on one clock for the whole test."""
    offset = epoch_offset_ns()

    def make(host: LoopbackHost, **options: Any) -> PhoneSetup:
        given = {"seconds": 2.0, "user": host.name, "rtcp_minimum_s": 0.3, **options}
        return PhoneSetup(address=host.address, epoch_offset_ns=offset, **given)

    return make
