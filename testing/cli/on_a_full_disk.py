"""Commands whose output does not fit on its disk, or may not be written there: run in a mount namespace of its own.

As a program: `on_a_full_disk.py PLACE DATA ARTIFACT`; PLACE becomes a small disk, and what each command says of it is a
JSON line. The disk is full at first (which one command tries), has room for a little then, then may only be read.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from earwitness.cli.main import app
from earwitness.errors import EarwitnessError


def commands(data: str, artifact: str, place: str) -> dict[str, tuple[str, ...]]:
    quick = ("--buffer", "fixed:60")
    return {
        "export": ("export", data, "--out", f"{place}/x.csv"),
        "report": ("report", data, "--out", f"{place}/x.html"),
        "report --figures": ("report", data, "--out", f"{place}-report.html", "--figures", f"{place}/figures"),
        "bundle": ("bundle", data, "--out", f"{place}/x.tar.gz", "--no-figures"),
        "reproduce": ("reproduce", artifact, "--out", f"{place}/r", "--no-raw", "--resamples", "10"),
        "import": ("import", artifact, "--out", f"{place}/i"),
        "whatif": ("whatif", data, *quick, "--out", f"{place}/w"),
        "blame": ("blame", data, *quick, "--out", f"{place}/b"),
    }


def tried(argv: tuple[str, ...], place: Path) -> dict[str, object]:
    result = CliRunner().invoke(app, list(argv))
    error = result.exception
    told = str(error) if isinstance(error, EarwitnessError) else repr(error)
    files = sorted(str(path.relative_to(place)) for path in place.rglob("*") if path.is_file())
    return {"told": told, "ours": isinstance(error, EarwitnessError), "files": files}


def main() -> None:
    place, data, artifact = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", place], check=True)
    print("mounted", flush=True)
    for disk, left in (("full", 0), ("nearly full", 24 << 10), ("read-only", 400 << 10)):
        for name, argv in commands(data, artifact, str(place)).items():
            if disk == "full" and name != "export":
                continue
            subprocess.run(["mount", "-o", "remount,bind,rw", place], check=True)
            subprocess.run(f"rm -rf {place}/* {place}/.[!.]*", shell=True, check=True)
            ballast = place / "ballast"
            ballast.write_bytes(bytes((512 << 10) - (8 << 10) - left))
            if not left:
                with ballast.open("ab", buffering=0) as file:
                    try:
                        while file.write(bytes(4096)):
                            pass
                    except OSError:
                        pass
            if disk == "read-only":
                subprocess.run(["mount", "-o", "remount,bind,ro", place], check=True)
            print(json.dumps({"disk": disk, "command": name, **tried(argv, place)}), flush=True)


if __name__ == "__main__":
    main()
