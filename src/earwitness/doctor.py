"""What is missing on this machine, and the command that mends it."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from earwitness.speech.codecs.speex import PLAIN

APT = "apt-get install -y --no-install-recommends"


@dataclass(frozen=True)
class Check:
    """One thing looked at."""

    name: str
    ok: bool
    detail: str
    """What was found."""
    remedy: str = ""
    """The command that mends it; empty where nothing need be done."""
    required: bool = True
    """Whether the main job needs it; the others are needed by the parts that `needed_for` names."""
    needed_for: str = ""


def examine() -> list[Check]:
    """Look at everything Earwitness relies on; changes nothing, takes about a second."""
    checks: list[Check] = []
    for look in (_system, _programs, _libraries, _permissions, _timing, _disk):
        checks.extend(look())
    return checks


def _system() -> Iterator[Check]:
    linux = sys.platform == "linux"
    yield Check("Linux", linux, platform.platform(), "" if linux else "run Earwitness on Linux")
    recent = sys.version_info >= (3, 11)
    yield Check("Python", recent, platform.python_version(), "" if recent else f"{APT} python3.11")


@dataclass(frozen=True)
class _Program:
    name: str
    package: str
    version_arguments: tuple[str, ...]
    needed_for: str
    required: bool = False


_PROGRAMS = (
    _Program("tor", "tor", ("--version",), "every path over Tor", True),
    _Program("tor-gencert", "tor", (), "the private Tor network's authorities", True),
    _Program("ip", "iproute2", ("-Version",), "the lab's hosts", True),
    _Program("openvpn", "openvpn", ("--version",), "the paths vpn and vpn-tor"),
    _Program("kamailio", "kamailio", ("-v",), "calls through a SIP server in the lab"),
    _Program("rtpengine", "rtpengine-daemon", ("--version",), "calls with media relayed by the SIP server"),
    _Program("linphonec", "linphone-cli", ("--version",), "the phone linphone"),
    _Program("tshark", "tshark", ("--version",), "the tests that hold our figures against tshark's"),
)


def _programs() -> Iterator[Check]:
    for program in _PROGRAMS:
        found = shutil.which(program.name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/local/sbin")
        detail = _version(found, program.version_arguments) if found else "not found"
        yield Check(
            program.name,
            found is not None,
            detail,
            "" if found else f"{APT} {program.package}",
            program.required,
            program.needed_for,
        )


def _version(program: str, arguments: tuple[str, ...]) -> str:
    """The first line with a number that the program prints of itself, or its place where it prints none."""
    if not arguments:
        return program
    try:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{program} does not run: {error}"
    lines = (done.stdout + done.stderr).splitlines()
    return next((line.strip()[:70] for line in lines if re.search(r"\d\.\d", line)), program)


def _libraries() -> Iterator[Check]:
    for name, soname, package in (
        ("libopus", "libopus.so.0", "libopus0"),
        ("libspeex", "libspeex.so.1", "libspeex1"),
        ("libgsm", "libgsm.so.1", "libgsm1"),
    ):
        try:
            ctypes.CDLL(soname)
        except OSError as error:
            yield Check(name, False, str(error), f"{APT} {package}", True, "codecs")
        else:
            yield Check(name, True, soname, "", True, "codecs")
    linked = PLAIN.exists()
    yield Check(
        "libspeex without SSE",
        linked,
        "linked" if linked else "not linked when Earwitness was installed",
        "" if linked else f"{APT} libspeex-dev gcc binutils, then install Earwitness again",
        False,
        "hearing Speex bit for bit as the published study's phones did",
    )


def _permissions() -> Iterator[Check]:
    tun = Path("/dev/net/tun")
    usable = tun.exists() and os.access(tun, os.R_OK | os.W_OK)
    remedy = "modprobe tun" if not tun.exists() else f"chmod 0666 {tun} (or run as root)"
    yield Check("/dev/net/tun", usable, "usable" if usable else "not usable", "" if usable else remedy)
    yield _namespaces()


def _namespaces() -> Check:
    """Whether a child may make the namespaces that the lab lives in, tried for real."""
    arguments = ["unshare", "--pid", "--mount", "--net", "--fork", "--kill-child"]
    if os.geteuid() != 0:
        arguments.insert(1, "-Ur")
    try:
        done = subprocess.run([*arguments, "true"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check("namespaces", False, str(error), f"{APT} util-linux")
    if done.returncode == 0:
        return Check("namespaces", True, "as root" if os.geteuid() == 0 else "in a user namespace")
    switches = {
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1",
        "/proc/sys/kernel/unprivileged_userns_clone": "0",
        "/proc/sys/user/max_user_namespaces": "0",
    }
    for switch, closed in switches.items():
        file = Path(switch)
        if file.exists() and file.read_text().strip() == closed:
            name = switch.removeprefix("/proc/sys/").replace("/", ".")
            value = {"1": "0", "0": "1"}[closed] if "max_user" not in switch else "15000"
            return Check("namespaces", False, f"{name} = {closed}", f"sysctl -w {name}={value} (or run as root)")
    return Check("namespaces", False, done.stderr.strip() or "refused", "run as root")


def _timing() -> Iterator[Check]:
    """How late this machine wakes a sleeper: the floor under every timing figure."""
    try:
        policy = os.sched_get_priority_max(os.SCHED_FIFO)
        child = subprocess.run(
            [
                sys.executable,
                "-c",
                f"import os; os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param({policy // 2}))",
            ],
            capture_output=True,
            timeout=20,
            check=False,
        )
        realtime = child.returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        realtime = False
    yield Check(
        "real-time scheduling",
        realtime,
        "permitted" if realtime else "not permitted: timing will be less exact under load",
        "" if realtime else "run as root, or raise the rtprio limit: ulimit -r 50",
        False,
        "exact timing under load",
    )
    late_ms = sorted(_lateness_ms(time.monotonic_ns, time.sleep) for _ in range(200))[-3]
    fine = late_ms < 2.0
    yield Check(
        "timer",
        fine,
        f"p99 of waking late: {late_ms:.2f} ms",
        "" if fine else "free this machine of other work while measuring",
        False,
        "exact timing",
    )


def _lateness_ms(now_ns: Callable[[], int], sleep: Callable[[float], None]) -> float:
    due = now_ns() + 2_000_000
    sleep(0.002)
    return (now_ns() - due) / 1e6


def _disk() -> Iterator[Check]:
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    yield Check("disk", free > 1.0, f"{free:.1f} GB free here", "" if free > 1.0 else "free at least 1 GB here")
