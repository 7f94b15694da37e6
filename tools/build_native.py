"""Build hook: links a copy of libspeex that sums as builds without SSE do, where a C compiler and libspeex.a are there.

Without it the package still works: Speex is then decoded by the system's libspeex, which differs in the last bit of
0.4 to 0.7 % of the samples.

The library is loaded through ctypes and knows nothing of Python, so one wheel serves every Python of a platform:
`py3-none-manylinux_2_NN_ARCH`, where 2.NN is the oldest C library that has all the symbols it needs (PEP 600). A wheel
without the library is `py3-none-any`; `CC=false` makes one on purpose.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.config import BuilderConfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = Path("src/earwitness/speech/codecs/native_code")
LIBRARY = FOLDER / "libspeex_plain.so"
COMPILING = ("-O2", "-std=gnu11", "-ffp-contract=off", "-fPIC", "-shared", "-s")
GLIBC = {"libc.so.6", "libm.so.6"}
"""The libraries that a manylinux wheel may take from any machine, as far as libspeex needs any."""
OURS_FIRST = ("--weaken-symbol=inner_prod", "--redefine-sym=stderr=within_reach_stderr")


class CustomBuildHook(BuildHookInterface[BuilderConfig]):
    """Links before the package is put together, also for an editable install."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Link in place; where that fails, say so and build without the library."""
        root = Path(self.root)
        try:
            link(root / FOLDER / "plain_sums.c", root / LIBRARY)
            platform = platform_of(root / LIBRARY)
        except (OSError, subprocess.CalledProcessError) as error:
            why = getattr(error, "stderr", "") or str(error)
            self.app.display_warning(f"no libspeex without SSE, the system's serves (libspeex-dev, gcc): {why.strip()}")
            return
        build_data["artifacts"].append(str(LIBRARY))
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform}"


def link(source: Path, library: Path) -> None:
    """Make `library` of `source` and the system's libspeex.a. Raises OSError or CalledProcessError."""
    compiler = shlex.split(os.environ.get("CC", "cc"))
    archive = _run([*compiler, "-print-file-name=libspeex.a"]).strip()
    if not Path(archive).is_absolute():
        raise FileNotFoundError("libspeex.a is not here")
    # Beside the library, so that it can be renamed into place: a process that has the old one loaded keeps it whole.
    with tempfile.TemporaryDirectory(dir=library.parent) as scratch:
        ours, made = Path(scratch, "libspeex.a"), Path(scratch, library.name)
        _run([os.environ.get("OBJCOPY", "objcopy"), *OURS_FIRST, archive, str(ours)])
        whole = ("-Wl,-Bsymbolic", "-Wl,--whole-archive", str(ours), "-Wl,--no-whole-archive")
        _run([*compiler, *COMPILING, "-o", str(made), str(source), *whole, "-lm"])
        made.replace(library)


def platform_of(library: Path) -> str:
    """The platform tag of a wheel with this library: manylinux (PEP 600), or linux_ARCH if it needs more than glibc."""
    machine = re.sub(r"[^a-z0-9]", "_", sysconfig.get_platform().lower())
    needed = set(re.findall(r"\(NEEDED\).*\[(.+)\]", _run(["readelf", "--dynamic", str(library)])))
    found = re.findall(r"GLIBC_2\.(\d+)", _run(["readelf", "--version-info", str(library)]))
    if not needed <= GLIBC or not found:
        return machine
    # No index takes less than 2.5 (PEP 513), which is older than any machine that this runs on.
    return machine.replace("linux_", f"manylinux_2_{max(5, *map(int, found))}_", 1)


def _run(command: list[str]) -> str:
    spoken = {**os.environ, "LC_ALL": "C"}
    return subprocess.run(command, check=True, capture_output=True, text=True, env=spoken).stdout
