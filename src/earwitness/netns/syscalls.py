"""Linux system calls missing in Python 3.11 (namespaces, mounts, prctl), through libc."""

from __future__ import annotations

import ctypes
import os

CLONE_NEWNS = 0x0002_0000
CLONE_NEWUTS = 0x0400_0000
CLONE_NEWUSER = 0x1000_0000
CLONE_NEWPID = 0x2000_0000
CLONE_NEWNET = 0x4000_0000

MS_BIND = 0x1000
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REC = 0x4000
MS_SLAVE = 0x8_0000

_MNT_DETACH = 2
_PR_SET_PDEATHSIG = 1
_PR_SET_TIMERSLACK = 29
_MCL_CURRENT = 1

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p]
_libc.umount2.argtypes = [ctypes.c_char_p, ctypes.c_int]
_libc.prctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong]
_libc.setns.argtypes = [ctypes.c_int, ctypes.c_int]
_libc.unshare.argtypes = [ctypes.c_int]
_libc.mlockall.argtypes = [ctypes.c_int]


def _checked(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Move the calling thread into new namespaces (unshare(2)); `CLONE_NEWPID` takes effect for its children.

    Raises:
        OSError: refused by the kernel.
    """
    _checked(_libc.unshare(flags), "unshare")


def setns(descriptor: int, kind: int) -> None:
    """Move the calling thread into the namespace that `descriptor` refers to (setns(2)).

    Raises:
        OSError: refused by the kernel.
    """
    _checked(_libc.setns(descriptor, kind), "setns")


def mount(source: str, target: str, filesystem: str = "", flags: int = 0, data: str = "") -> None:
    """Mount `source` on `target` (mount(2)).

    Raises:
        OSError: refused by the kernel.
    """
    arguments = [os.fsencode(text) if text else None for text in (source, target, filesystem)]
    _checked(_libc.mount(*arguments, flags, os.fsencode(data) if data else None), f"mount {target}")


def unmount(target: str) -> None:
    """Detach whatever is mounted on `target`, even while in use (umount2(2), MNT_DETACH).

    Raises:
        OSError: refused by the kernel.
    """
    _checked(_libc.umount2(os.fsencode(target), _MNT_DETACH), f"unmount {target}")


def die_with_parent(signal_number: int) -> None:
    """Send this process `signal_number` when the *thread* that forked it ends (prctl(2), PR_SET_PDEATHSIG).

    The parent may be gone before this runs: the caller must check afterwards that it still exists.
    """
    _checked(_libc.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0), "prctl PR_SET_PDEATHSIG")


def set_timer_slack_ns(slack_ns: int) -> None:
    """Set how late the kernel may fire this thread's timers to coalesce wake-ups; the default is 50,000 ns."""
    _checked(_libc.prctl(_PR_SET_TIMERSLACK, slack_ns, 0, 0, 0), "prctl PR_SET_TIMERSLACK")


def lock_memory() -> None:
    """Lock this process's current pages in memory (mlockall(2)).

    Future pages are not locked: beyond an unprivileged user's limit, allocations would fail.

    Raises:
        OSError: over the locked-memory limit without the capability.
    """
    _checked(_libc.mlockall(_MCL_CURRENT), "mlockall")
