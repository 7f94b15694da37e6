"""Check this machine for missing programs, packages and permissions; each failed check names its fix."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from earwitness.extras import NEEDED_FOR, extras
from earwitness.speech.codecs.speex_codec import PLAIN

APT = "apt-get install -y --no-install-recommends"
AGAIN = f"{sys.executable} -m pip install --force-reinstall --no-deps -e ."
"""Reinstalls Earwitness; to be run in the checkout."""


@dataclass(frozen=True)
class Check:
    """The result of one check."""

    name: str
    ok: bool
    detail: str
    """What was found."""
    remedy: str = ""
    """The command that fixes it; empty if nothing is wrong."""
    required: bool = True
    """Whether placing calls requires it; if not, `needed_for` says what does."""
    needed_for: str = ""


def examine() -> list[Check]:
    """Run all checks. Takes about a second and changes nothing."""
    checks: list[Check] = []
    for look in (_system, _packages, _programs, _libraries, _permissions, _timing, _disk):
        checks.extend(look())
    return checks


def _system() -> Iterator[Check]:
    linux = sys.platform == "linux"
    yield Check("Linux", linux, platform.platform(), "" if linux else "run Earwitness on Linux")
    recent = sys.version_info >= (3, 11)
    yield Check("Python", recent, platform.python_version(), "" if recent else f"{APT} python3.11")


def _packages() -> Iterator[Check]:
    """The required packages, some of which may have been uninstalled since, and those of each extra."""
    needed = [line for line in metadata.requires("earwitness") or () if "extra ==" not in line]
    missing = [line for line in needed if not _installed(re.split(r"[^\w.-]", line)[0])]
    detail = f"{', '.join(missing)} not installed" if missing else f"{len(needed)} installed"
    remedy = shlex.join([sys.executable, "-m", "pip", "install", *missing]) if missing else ""
    yield Check("Python packages", not missing, detail, remedy)
    for extra, modules in extras().items():
        missing = [module for module in modules if not _installed(module)]
        detail = f"{', '.join(missing)} not installed" if missing else f"{len(modules)} packages installed"
        remedy = shlex.join([sys.executable, "-m", "pip", "install", f"earwitness[{extra}]"]) if missing else ""
        yield Check(f"extra {extra}", not missing, detail, remedy, False, NEEDED_FOR.get(extra, ""))


def _installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


@dataclass(frozen=True)
class _Program:
    name: str
    package: str
    version_arguments: tuple[str, ...]
    needed_for: str
    required: bool = False
    alternatives: tuple[str, ...] = ()
    """Alternative names, or equivalent programs."""


_PROGRAMS = (
    _Program("tor", "tor", ("--version",), "every path over Tor", True),
    _Program("tor-gencert", "tor", (), "the private Tor network's authorities", True),
    _Program("ip", "iproute2", ("-Version",), "inspecting the lab's hosts by hand, and the tests that do"),
    _Program("openvpn", "openvpn", ("--version",), "the paths vpn and vpn-tor"),
    _Program("kamailio", "kamailio", ("-v",), "calls through a SIP server in the lab"),
    _Program("rtpengine", "rtpengine-daemon", ("--version",), "calls with media relayed by the SIP server"),
    _Program("linphonec", "linphone-cli", ("--version",), "the phone linphone"),
    _Program("tshark", "tshark", ("--version",), "the tests that compare our figures with tshark's"),
    _Program(
        "chromium",
        "chromium",
        ("--version",),
        "the tests of the report in a browser",
        alternatives=("chromium-browser", "google-chrome"),
    ),
    _Program("promtool", "prometheus", ("--version",), "Prometheus's own check of the metrics, and its benchmark"),
)


def _programs() -> Iterator[Check]:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/local/sbin"
    for program in _PROGRAMS:
        places = (shutil.which(name, path=path) for name in (program.name, *program.alternatives))
        found = next(filter(None, places), None)
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
    """The first line of the program's output that contains a version number; its path if no line does."""
    if not arguments:
        return program
    try:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{program} does not run: {error}"
    lines = (done.stdout + done.stderr).splitlines()
    return next((line.strip()[:70] for line in lines if re.search(r"\d\.\d", line)), program)


_LIBRARIES = (
    ("libopus", "libopus.so.0", "libopus0", ""),
    ("libspeex", "libspeex.so.1", "libspeex1", ""),
    ("libgsm", "libgsm.so.1", "libgsm1", ""),
    ("libspandsp", "libspandsp.so.2", "libspandsp2", "the codecs G.722 and G.726"),
    ("libbcg729", "libbcg729.so.0", "libbcg729-0", "the codec G.729"),
    ("libopencore-amrnb", "libopencore-amrnb.so.0", "libopencore-amrnb0", "the codec AMR"),
    ("libopencore-amrwb", "libopencore-amrwb.so.0", "libopencore-amrwb0", "the codec AMR-WB"),
    ("libvo-amrwbenc", "libvo-amrwbenc.so.0", "libvo-amrwbenc0", "calls with the codec AMR-WB"),
    ("libcodec2", "libcodec2.so.1.0", "libcodec2-1.0", "the codec Codec2"),
)
"""Name, file, Debian package, and what it is needed for if not for every installation."""


def _libraries() -> Iterator[Check]:
    for name, soname, package, codecs in _LIBRARIES:
        problem = _loading(soname)
        remedy = f"{APT} {package}" if problem else ""
        yield Check(name, not problem, problem or soname, remedy, not codecs, codecs or "codecs")
    problem = _loading(str(PLAIN)) if PLAIN.exists() else "not linked when Earwitness was installed"
    yield Check(
        "libspeex without SSE",
        not problem,
        problem or "linked",
        f"{APT} libspeex-dev gcc libc6-dev && {AGAIN}" if problem else "",
        False,
        "decoding Speex bit for bit like the published study's phones",
    )


def _loading(library: str) -> str:
    """Why a shared library cannot be loaded; empty if it can."""
    try:
        ctypes.CDLL(library)
    except OSError as error:
        return str(error)
    return ""


def _permissions() -> Iterator[Check]:
    tun = Path("/dev/net/tun")
    usable = tun.exists() and os.access(tun, os.R_OK | os.W_OK)
    remedy = "modprobe tun" if not tun.exists() else f"chmod 0666 {tun} (or run as root)"
    yield Check("/dev/net/tun", usable, "usable" if usable else "not usable", "" if usable else remedy)
    yield _namespaces()


def _namespaces() -> Check:
    """Whether a child process can create the namespaces that the lab needs, found by trying."""
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
    """How late this machine wakes a sleeping process, which limits the accuracy of all timing figures."""
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
        "" if fine else "stop other work on this machine while measuring",
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
