"""Processes that end with the one that started them, however that ends, and take what they forked with them.

The kernel's death signal (prctl(2), PR_SET_PDEATHSIG) reaches a child, but none of the processes that the child forks.
A server that forks workers is therefore process 1 of a pid namespace of its own: with process 1 the kernel ends every
process of a pid namespace (pid_namespaces(7)), without any other process of ours that could be killed before. Where no
such namespace may be made (no CAP_SYS_ADMIN), a guard that holds the owner's pidfd kills the server's process group.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from earwitness.netns import syscalls

_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")
"""Forks for threads other than the main one: a child dies with the *thread* that forked it, and this one stays."""


def start_owned(
    argv: Sequence[str],
    within: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
    *,
    forks: bool = False,
    **options: Any,
) -> subprocess.Popen[bytes]:
    """`subprocess.Popen`, started in the context `within`, and killed when this process ends, however it ends.

    It is of a process group of its own, so that Ctrl-C at a terminal is for the command, which may finish its call.
    `forks`: a program with processes of its own, which end with it. It sees itself as process 1, so that signals that
    it has no handler for do not reach it, SIGKILL excepted; its `pid` here is the one that this process knows it by.

    Raises:
        OSError: it did not start.
    """
    options.setdefault("process_group", None if options.get("start_new_session") else 0)
    # In a new pid namespace getppid() is 0: whether the owner had gone before is asked of its pidfd.
    owner = os.pidfd_open(os.getpid())

    def spawn() -> subprocess.Popen[bytes]:
        with within(), _children_in_new_pid_namespace() if forks else contextlib.nullcontext(True) as alone:

            def die_with_us() -> None:
                syscalls.die_with_parent(signal.SIGKILL)
                if _over(owner):
                    os._exit(1)
                if not alone:
                    _guard_group(owner)

            return subprocess.Popen(argv, preexec_fn=die_with_us, **options)

    try:
        # The main thread stays out of new namespaces: a signal's exception must not come while it is in one.
        if threading.current_thread() is threading.main_thread() and not forks:
            return spawn()
        return _spawner.submit(spawn).result()
    finally:
        os.close(owner)


@contextlib.contextmanager
def _children_in_new_pid_namespace() -> Iterator[bool]:
    """The next child that this thread forks is process 1 of a new pid namespace; False where that is not permitted."""
    home = os.open("/proc/thread-self/ns/pid_for_children", os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            syscalls.unshare(syscalls.CLONE_NEWPID)
        except OSError:
            yield False
            return
        try:
            yield True
        finally:
            syscalls.setns(home, syscalls.CLONE_NEWPID)
    finally:
        os.close(home)


def _guard_group(owner: int) -> None:
    """In a child that leads its process group, before it becomes the program: fork who kills the group after it.

    The guard is of the group, whose number therefore is nobody else's for as long as it lives.
    """
    leader = os.pidfd_open(os.getpid())
    if os.fork():
        os.close(leader)
        return
    for number in {signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM}:
        signal.signal(number, signal.SIG_IGN)
    # None of the program's streams, nor the pipe by which Popen learns that it runs, is held open.
    low, high = sorted((owner, leader))
    os.closerange(0, low)
    os.closerange(low + 1, high)
    os.closerange(high + 1, os.sysconf("SC_OPEN_MAX"))
    waiting = select.poll()
    waiting.register(owner, select.POLLIN)
    waiting.register(leader, select.POLLIN)
    waiting.poll()
    os.killpg(0, signal.SIGKILL)


def _over(pidfd: int) -> bool:
    at_once = select.poll()  # not select(2), which takes no descriptor from 1024 on
    at_once.register(pidfd, select.POLLIN)
    return bool(at_once.poll(0))
