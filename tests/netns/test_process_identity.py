"""Processes are known by their start and by their namespaces, whose numbers the kernel uses again."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from earwitness.netns.process_identity import hold_namespaces, namespaces_of, processes_in

READS_TO_ITS_END = "import sys; print(flush=True); sys.stdin.read()"


@contextmanager
def in_a_namespace() -> Iterator[int]:
    """A process in a host-name namespace of its own; gives the namespace's number."""
    argv = ["unshare", "--uts", sys.executable, "-c", READS_TO_ITS_END]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"\n"
        try:
            yield namespaces_of(process.pid)["uts"]
        finally:
            process.stdin.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes such a namespace without others")
def test_a_held_namespace_keeps_its_number() -> None:
    with ExitStack() as holding:
        with in_a_namespace() as number:
            assert holding.enter_context(hold_namespaces([number, 1])) == {number}
            assert len(processes_in([number])) == 1
        others = set()
        for _ in range(20):
            with in_a_namespace() as other:
                others.add(other)
        assert number not in others
