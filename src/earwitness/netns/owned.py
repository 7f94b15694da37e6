"""Processes that end with their starter, however it ends, together with everything they forked.

The kernel's parent-death signal (prctl(2), PR_SET_PDEATHSIG) reaches a child, but not the processes that the child
forks. A server that forks workers is therefore process 1 of its own pid namespace: when process 1 ends, the kernel
kills every process in the namespace (pid_namespaces(7)), without a helper that could be killed first. If such a
namespace is not permitted (no CAP_SYS_ADMIN), a guard that holds the owner's pidfd kills the server's process group.
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
"""Forks on behalf of threads other than the main one: a child dies with the *thread* that forked it; this one
persists."""


def start_owned(
    argv: Sequence[str],
    within: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
    *,
    forks: bool = False,
    **options: Any,
) -> subprocess.Popen[bytes]:
    """Like `subprocess.Popen`, in the context `within`, but killed when this process ends, however it ends.

    It has a process group of its own, so Ctrl-C in a terminal reaches only the command, which can finish its call.
    `forks`: the program starts processes of its own, which end with it. It sees itself as process 1, so signals without
    a handler do not reach it, except SIGKILL; its `pid` here is the one seen by this process.

    Raises:
        OSError: it did not start.
    """
    options.setdefault("process_group", None if options.get("start_new_session") else 0)
    # In a new pid namespace getppid() is 0, so whether the owner is already gone is checked with its pidfd.
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
        # The main thread stays out of new namespaces: a signal must not raise an exception while it is in one.
        if threading.current_thread() is threading.main_thread() and not forks:
            return spawn()
        return _spawner.submit(spawn).result()
    finally:
        os.close(owner)


@contextlib.contextmanager
def _children_in_new_pid_namespace() -> Iterator[bool]:
    """The next child forked by this thread is process 1 of a new pid namespace; False if that is not permitted."""
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
    """In a child that leads its process group, before exec: fork a guard that kills the group after it.

    The guard belongs to the group, so the group id cannot be reused while the guard lives.
    """
    leader = os.pidfd_open(os.getpid())
    if os.fork():
        os.close(leader)
        return
    for number in {signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM}:
        signal.signal(number, signal.SIG_IGN)
    # Close the program's streams and the pipe by which Popen learns of the exec.
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
    at_once = select.poll()  # select(2) does not accept descriptors from 1024 on
    at_once.register(pidfd, select.POLLIN)
    return bool(at_once.poll(0))
