"""Build hook: links a copy of libspeex that sums as builds without SSE do, where a C compiler and libspeex.a are there.

Without it the package still works: Speex is then decoded by the system's libspeex, which differs in the last bit of
0.4 to 0.7 % of the samples.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = Path("src/earwitness/speech/codecs/native_code")
LIBRARY = FOLDER / "libspeex_plain.so"
COMPILING = ("-O2", "-std=gnu11", "-ffp-contract=off", "-fPIC", "-shared")
OURS_FIRST = ("--weaken-symbol=inner_prod", "--redefine-sym=stderr=within_reach_stderr")


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Links before the package is put together, also for an editable install."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Link in place; a failure is told and passed over."""
        root = Path(self.root)
        try:
            link(root / FOLDER / "plain_sums.c", root / LIBRARY)
        except (OSError, subprocess.CalledProcessError) as error:
            why = getattr(error, "stderr", "") or str(error)
            self.app.display_warning(f"no libspeex without SSE, the system's serves (libspeex-dev, gcc): {why.strip()}")
            return
        build_data["artifacts"].append(str(LIBRARY))
        build_data["pure_python"] = False
        build_data["infer_tag"] = True


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


def _run(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
