"""Writes a data set as one file for others: hashes, versions, the study, its journal, records, and a way to the
figures."""

from __future__ import annotations

import gzip
import hashlib
import json
import platform
import shutil
import tarfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import Any

from earwitness.archive.dataset import Dataset
from earwitness.archive.layout import CALLS, LOCK, RECORD
from earwitness.archive.storing import check_output, storing
from earwitness.bundle.names_in_dataset import pseudonyms_of
from earwitness.bundle.pseudonyms import Pseudonyms
from earwitness.bundle.staging import Staging
from earwitness.errors import EarwitnessError, InputError
from earwitness.files import replacing
from earwitness.netns.scratch import scratch_folder
from earwitness.study.lock import running_since
from earwitness.version import __version__

BUNDLE_VERSION = 1
_DATA = "data"
_FIGURES = "FIGURES.sha256"
_PACKAGES = ("numpy", "pandas", "scipy", "matplotlib", "pyarrow", "pesq")
"""Packages on which the bytes of a figure depend."""

Draw = Callable[[Path, Path], Sequence[Path]]
"""Draws the figures of a data set into a folder; returns the files."""


@dataclass(frozen=True)
class Bundle:
    """What was written."""

    path: Path
    sha256: str
    size: int
    calls: int
    files: int
    figures: int
    left_out: Mapping[str, int]
    """Number of files left out, by kind."""
    strangers: tuple[str, ...] = ()
    """Files left out because they are not part of a data set or cannot be read, each with the reason."""


def bundle(
    directory: Path, out: Path, *, audio: bool = True, pseudonyms: bool = False, draw: Draw | None = None
) -> Bundle:
    """Write the data set and its study as `out` (a .tar.gz); the same data set gives the same bytes.

    Without `audio` it contains nothing audible: no audio files, no captures, no packet payloads. With `pseudonyms`,
    relays, addresses and machines are renamed, and captures, which contain them, are left out. `draw` draws the
    figures; the bundle's `make figures` checks their hashes.

    Raises InputError if there is no data set or a run is using it, EarwitnessError if the bundle cannot be written.
    """
    Dataset.open(directory)
    if running_since(directory) is not None:
        raise InputError("bundling", directory, "a run is using it", "wait until it ends")
    if not out.name.endswith((".tar.gz", ".tgz")):
        raise InputError("bundling into", out, "the name has no archive suffix", "end it with .tar.gz")
    check_output(out)
    top = out.name.removesuffix(".gz").removesuffix(".tar").removesuffix(".tgz")
    with storing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder(".bundle-", out.parent) as root:
            data = root / _DATA
            data.mkdir()
            masks = pseudonyms_of(directory, data) if pseudonyms else None
            staged = Staging(directory, data, audio, masks)
            staged.all()
            Dataset.open(data).reindex()
            (data / LOCK).unlink(missing_ok=True)
            figures = _draw(draw, root, masks)
            _write_about(root, top, staged, pseudonyms, figures)
            names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
            sums = "".join(f"{_sha256(root / name)}  {name}\n" for name in names)
            (root / "SHA256SUMS").write_text(sums)
            _pack(root, [*names, "SHA256SUMS"], top, out)
    strangers = tuple(sorted(staged.strangers))
    sha256, size = _sha256(out), out.stat().st_size
    return Bundle(out, sha256, size, staged.calls, len(names) + 1, figures, dict(staged.left_out), strangers)


# -- description -----------------------------------------------------------------------------------------


def _draw(draw: Draw | None, root: Path, masks: Pseudonyms | None) -> int:
    """Draw the figures once, so that others can check whether theirs are identical."""
    if draw is None:
        return 0
    folder = root / "figures"
    try:
        drawn = draw(root / _DATA, folder)
    except EarwitnessError as error:
        said = str(error).replace(f"{root}/", "")  # do not disclose the local path
        (root / _FIGURES).write_text(f"# {masks.text(said) if masks else said}\n", encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        return 0
    sums = sorted((path.relative_to(folder).as_posix(), _sha256(path)) for path in drawn)
    (root / _FIGURES).write_text("".join(f"{digest}  {name}\n" for name, digest in sums))
    shutil.rmtree(folder)
    return len(sums)


def _write_about(root: Path, top: str, staged: Staging, pseudonyms: bool, figures: int) -> None:
    versions: dict[str, set[str]] = {}
    for path in (root / _DATA / CALLS).glob(f"*/{RECORD}"):
        try:
            found = json.loads(path.read_bytes())["versions"]
            for name, value in found.items():
                versions.setdefault(name, set()).add(str(value))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            continue  # reading the data set reports an unreadable record
    about: dict[str, Any] = {
        "bundle_version": BUNDLE_VERSION,
        "calls": staged.calls,
        "audio": staged.audio,
        "pseudonyms": pseudonyms,
        "left_out": dict(staged.left_out),
        "figures": figures,
        "measured_with": {name: sorted(values) for name, values in sorted(versions.items())},
        "bundled_with": {"earwitness": __version__, "python": platform.python_version(), **_installed(_PACKAGES)},
    }
    (root / "MANIFEST.json").write_text(json.dumps(about, indent=1) + "\n")
    templates = files("earwitness.study") / "templates"
    for name in ("Makefile", "README.md"):
        text = (templates / f"bundle-{name}").read_text(encoding="utf-8")
        (root / name).write_text(text.replace("@NAME@", top).replace("@VERSION@", __version__), encoding="utf-8")


def _installed(packages: Iterable[str]) -> dict[str, str]:
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _pack(root: Path, names: Sequence[str], top: str, out: Path) -> None:
    """Write a tar file whose bytes depend only on its files: names in order, no times, no owners."""
    with (
        replacing(out) as draft,
        draft.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=6) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name in names:
            entry = tarfile.TarInfo(f"{top}/{name}")
            entry.size, entry.mode = (root / name).stat().st_size, 0o644
            with (root / name).open("rb") as file:
                tar.addfile(entry, file)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
