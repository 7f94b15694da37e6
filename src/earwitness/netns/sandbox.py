"""Sandboxes: run a command such that everything it starts dies with it.

`run_inside` builds this chain; a SIGKILL anywhere in it ends everything to its right:

    outer command ──> guard ──> init (pid 1) ──> the command itself ──> tor, emulator, captures, phones ...
     waits, passes     death     death signal     a network namespace of its own; hosts are others
     signals on        signal    reaps; its end is the end of every process in its pid namespace

New are the pid, mount, network and host-name namespaces (and a user namespace, if not root). The mount namespace has a
fresh /proc and a private tmpfs on /run, in which the old directories except `netns` and `earwitness` stay visible; the
rest of the file system is the user's, so results are written as usual. Named network namespaces, TUN devices, mounts
and `STATE_DIR` exist only inside, and disappear with the sandbox.

A command runs itself inside by starting with

    if not in_sandbox():
        raise SystemExit(rerun_inside())

For access to the network in which the command was started, see `earwitness.netns.egress_service`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from earwitness.errors import EarwitnessError
from earwitness.netns import egress_service, syscalls, tun
from earwitness.netns.supervise import child_main, die_with, execute, run_supervised, wait_for, write_message

STATE_DIR = Path("/run/earwitness")
"""Private to the sandbox: sockets, tor's data, the emulator's log."""
HOME_NETNS = STATE_DIR / "home.netns"
"""The network namespace of the command inside, for commands that join."""

_MARKER = STATE_DIR / "sandbox"
_NOT_TAKEN_OVER = {"netns", "earwitness"}
_CAP_SYS_ADMIN = 21


def in_sandbox() -> bool:
    """Whether this process runs in a sandbox (the marker names the pid namespace, so a stray file does not count)."""
    try:
        return _MARKER.read_text() == _pid_namespace()
    except OSError:
        return False


def private_place() -> Path | None:
    """Folder for short-lived secrets: in a sandbox, memory that disappears with it; None: the usual place."""
    return STATE_DIR if in_sandbox() else None


def _pid_namespace() -> str:
    return str(Path("/proc/self/ns/pid").readlink())


def rerun_inside() -> int:
    """Run this command line again in a sandbox of its own; returns its exit code."""
    return run_inside([sys.executable, *sys.orig_argv[1:]])


def run_inside(argv: Sequence[str], *, on_started: Callable[[int], None] | None = None) -> int:
    """Run a command in new namespaces and wait for its end.

    Standard streams, environment and working directory are inherited; SIGINT, SIGTERM and similar signals to this
    process are passed on. Must be called from the main thread.

    Args:
        argv: the command and its arguments.
        on_started: called with the process id of the sandbox's init, as seen from here, before the command runs.

    Returns:
        The command's exit code; 128 + n if signal n ended it.

    Raises:
        EarwitnessError: this machine does not permit it; the error names what is missing and the remedy.
    """
    check_permitted()
    return run_supervised(_enter_new_namespaces, argv, on_started)


def check_permitted() -> None:
    """Check what can be checked without trying: the TUN device.

    Raises:
        EarwitnessError: it is missing, or this user may not open it.
    """
    tried = ("opening", tun.TUN_CLONE_DEVICE)
    try:
        os.close(os.open(tun.TUN_CLONE_DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except PermissionError as error:
        mend = (
            f"run `sudo chmod 0666 {tun.TUN_CLONE_DEVICE}` (safe: creating a device needs a capability too), or as root"
        )
        raise EarwitnessError(*tried, "this user has no permission", mend) from error
    except OSError as error:
        mend = "run `sudo modprobe tun`; in a container, start it with `--device /dev/net/tun`"
        raise EarwitnessError(*tried, error.strerror, mend) from error


def _enter_new_namespaces(argv: Sequence[str], report: int) -> NoReturn:
    """The guard: creates the namespaces, forks init into them, and waits."""
    directory = Path.cwd()
    flags = syscalls.CLONE_NEWPID | syscalls.CLONE_NEWNS | syscalls.CLONE_NEWUTS
    if _may_make_namespaces():
        syscalls.unshare(flags)
    else:
        _become_root_of_user_namespace(flags)
    guard = os.pidfd_open(os.getpid())
    init = os.fork()
    if init == 0:
        child_main(report, lambda: _init(argv, report, guard, directory))
    write_message(report, {"init": init})
    os.close(report)
    os._exit(wait_for(init))


def _may_make_namespaces() -> bool:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> _CAP_SYS_ADMIN & 1)
    return False


def _become_root_of_user_namespace(flags: int) -> None:
    parent = os.pidfd_open(os.getppid())
    user, group = os.geteuid(), os.getegid()
    try:
        syscalls.unshare(flags | syscalls.CLONE_NEWUSER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
        syscalls.mount("none", "/", flags=syscalls.MS_REC | syscalls.MS_SLAVE)
    except OSError as error:
        raise _user_namespace_refused(error) from error
    die_with(parent)  # the kernel may have cleared it when credentials changed
    os.close(parent)


def _user_namespace_refused(error: OSError) -> EarwitnessError:
    """Why unprivileged user namespaces are disabled here, and the command that enables them."""
    tried, on = "making", "a user namespace (this is not root)"
    for name, bad, good in (
        ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),  # Ubuntu 23.10 and later
        ("kernel.unprivileged_userns_clone", "0", "1"),  # Debian's kernels
        ("user.max_user_namespaces", "0", "10000"),
    ):
        setting = Path("/proc/sys") / name.replace(".", "/")
        if setting.exists() and setting.read_text().strip() == bad:
            return EarwitnessError(tried, on, f"{name} is {bad}", f"run `sudo sysctl -w {name}={good}`, or as root")
    hint = "too many of them" if error.errno in (errno.ENOSPC, errno.EUSERS) else str(error)
    return EarwitnessError(
        tried, on, hint, "run as root, or allow user namespaces (in a container: seccomp, --privileged)"
    )


def _init(argv: Sequence[str], report: int, guard: int, directory: Path) -> NoReturn:
    """Process 1 of the sandbox: mounts, starts the command, reaps processes; its end ends everything."""
    die_with(guard)
    os.close(guard)
    syscalls.mount("none", "/", flags=syscalls.MS_REC | syscalls.MS_SLAVE)
    nothing_special = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
    syscalls.mount("proc", "/proc", "proc", nothing_special)
    _private_run()
    STATE_DIR.mkdir(mode=0o700)
    _MARKER.write_text(_pid_namespace())
    socket.sethostname("earwitness")
    egress_service.start_server(STATE_DIR)
    command = os.fork()
    if command == 0:
        child_main(report, lambda: _run(argv, directory))
    os.close(report)
    os._exit(wait_for(command))


def _private_run() -> None:
    """Mount a private tmpfs on /run and bind the old directories into it."""
    old = os.open("/run", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    names = [entry.name for entry in Path("/run").iterdir() if entry.is_dir() and not entry.is_symlink()]
    syscalls.mount("tmpfs", "/run", "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, "mode=755")
    for name in set(names) - _NOT_TAKEN_OVER:
        target = Path("/run") / name
        target.mkdir()
        with contextlib.suppress(OSError):  # a directory that cannot be bound stays empty
            syscalls.mount(f"/proc/self/fd/{old}/{name}", str(target), flags=syscalls.MS_BIND | syscalls.MS_REC)
    os.close(old)


def _run(argv: Sequence[str], directory: Path) -> NoReturn:
    """The last step before the command: its own network namespace, and the original working directory."""
    syscalls.unshare(syscalls.CLONE_NEWNET)
    tun.bring_up("lo")
    HOME_NETNS.touch()
    syscalls.mount("/proc/self/ns/net", str(HOME_NETNS), flags=syscalls.MS_BIND)
    os.chdir(directory)
    execute(argv)
