"""A data set as one file for others: hashes, versions, the study, its journal, records, and the way to the figures."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import platform
import secrets
import shutil
import sqlite3
import tarfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from earwitness import __version__
from earwitness.archive.dataset import Dataset, storing
from earwitness.archive.layout import CALLS, CAPTURES, DATASET_FILE, RECORD, TRUTH
from earwitness.errors import EarwitnessError, InputError
from earwitness.lab.scratch import scratch_folder
from earwitness.study.lock import JOURNAL, STUDY, STUDY_FILE, running_since
from earwitness.study.pseudonyms import Pseudonyms

BUNDLE_VERSION = 1
KEY_FILE = "pseudonyms.key"
"""In `DIR/study/`, never in a bundle: who has it can tell which pseudonym is whose."""
_DATA = "data"
_FIGURES = "FIGURES.sha256"
_CAPTURED = frozenset(CAPTURES.values())
_PACKAGES = ("numpy", "pandas", "scipy", "matplotlib", "pyarrow", "pesq")
"""Those that a figure's bytes depend on."""
_ENDS = ("caller", "callee", "server")

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
    """Files that are not in it, by kind."""


def bundle(
    directory: Path, out: Path, *, audio: bool = True, pseudonyms: bool = False, draw: Draw | None = None
) -> Bundle:
    """Write the data set, and the study it is of, as `out` (a .tar.gz); the same data set gives the same bytes.

    Without `audio` there is nothing in it that can be heard: no sound, no captures, no packet's payload. With
    `pseudonyms` relays, addresses and machines have other names, and captures, which hold them, are left out. `draw`
    draws the figures, whose hashes the bundle's `make figures` then checks.

    Raises InputError where there is no data set or a run is at work on it, EarwitnessError where it cannot be written.
    """
    dataset = Dataset.open(directory)
    if running_since(directory) is not None:
        raise InputError("bundling", directory, "a run is at work on it", "wait until it has ended")
    if not out.name.endswith((".tar.gz", ".tgz")):
        raise InputError("bundling into", out, "the name does not say what it is", "end it with .tar.gz")
    top = out.name.removesuffix(".gz").removesuffix(".tar").removesuffix(".tgz")
    with storing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder(".bundle-", out.parent) as root:
            masks = _pseudonyms(dataset) if pseudonyms else None
            left_out: Counter[str] = Counter()
            calls = _stage_calls(dataset, root / _DATA, audio, masks, left_out)
            _stage_study(directory / STUDY, root / _DATA / STUDY, masks)
            shutil.copyfile(directory / DATASET_FILE, root / _DATA / DATASET_FILE)
            Dataset.open(root / _DATA).reindex()
            (root / _DATA / ".lock").unlink(missing_ok=True)
            figures = _draw(draw, root)
            _write_about(root, top, calls, audio, pseudonyms, left_out, figures)
            names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
            sums = "".join(f"{_sha256(root / name)}  {name}\n" for name in names)
            (root / "SHA256SUMS").write_text(sums)
            _pack(root, [*names, "SHA256SUMS"], top, out)
    return Bundle(out, _sha256(out), out.stat().st_size, calls, len(names) + 1, figures, dict(left_out))


# -- what goes in ----------------------------------------------------------------------------------------


def _stage_calls(dataset: Dataset, target: Path, audio: bool, masks: Pseudonyms | None, left_out: Counter[str]) -> int:
    count = 0
    for folder in sorted(path for path in (dataset.path / CALLS).iterdir() if path.is_dir()):
        into = target / CALLS / folder.name
        into.mkdir(parents=True)
        count += 1
        for path in sorted(folder.iterdir()):
            if path.name in _CAPTURED and (masks or not audio):
                left_out["captures"] += 1
            elif path.suffix == ".wav" and not audio:
                left_out["sound"] += 1
            elif path.name == RECORD and masks:
                plain = masks.plain(json.loads(path.read_bytes()))
                (into / RECORD).write_text(json.dumps(plain, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
            elif path.name == TRUTH and masks:
                _write_truth(path, into / path.name, masks)
            elif path.name.endswith(".trace.parquet") and not audio:
                _write_silent(path, into / path.name)
            else:
                _link(path, into / path.name)
    return count


def _stage_study(study: Path, target: Path, masks: Pseudonyms | None) -> None:
    if not (study / JOURNAL).is_file():
        return
    target.mkdir(parents=True)
    text = (study / STUDY_FILE).read_text(encoding="utf-8")
    (target / STUDY_FILE).write_text(masks.text(text) if masks else text, encoding="utf-8")
    with closing(sqlite3.connect(f"{(study / JOURNAL).resolve().as_uri()}?mode=ro", uri=True)) as journal:
        journal.execute("VACUUM INTO ?", (str(target / JOURNAL),))
    if masks is None:
        return
    with closing(sqlite3.connect(target / JOURNAL, isolation_level=None)) as journal:
        journal.create_function("masked", 1, lambda value: masks.text(value) if isinstance(value, str) else value)
        journal.execute("UPDATE calls SET plan = masked(plan), why = masked(why)")
        journal.execute("UPDATE attempts SET why = masked(why)")
        journal.execute("UPDATE runs SET owner = masked(owner), ending = masked(ending)")
        journal.execute("UPDATE meta SET value = masked(value) WHERE key = 'frozen'")
        journal.execute("VACUUM")  # or the old texts would still be in the file's free pages


def _write_truth(source: Path, target: Path, masks: Pseudonyms) -> None:
    """The emulator's log with its hosts' names replaced; what it holds of payloads is RTP headers."""
    table = pq.read_table(source)
    for name in ("source", "destination"):
        hosts = [None if host is None else masks.text(host) for host in table.column(name).to_pylist()]
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(hosts, pa.string()))
    pq.write_table(table, target, compression="zstd")


def _write_silent(source: Path, target: Path) -> None:
    """A trace without its packets' payloads, which are the sound."""
    table = pq.read_table(source)
    if "payload" in table.column_names:
        index = table.schema.get_field_index("payload")
        empty = pa.nulls(table.num_rows, table.schema.field(index).type)
        table = table.set_column(index, table.schema.field(index), empty)
    pq.write_table(table, target, compression="zstd")


def _pseudonyms(dataset: Dataset) -> Pseudonyms:
    """The names of every relay and machine of the data set, and the key, which is made at the first time."""
    relays: set[str] = set()
    machines: set[str] = set()
    for call in dataset.calls():
        record = call.record
        relays |= {relay.nickname for relay in record.circuit.relays}
        relays |= {name for name in record.evidence.get("hops", ()) if isinstance(name, str)}
        machines |= {clock.host for clock in record.clocks.values() if clock.host != "this machine"}
        if call.has(TRUTH):
            hosts = pq.read_table(call.folder / TRUTH, columns=["source", "destination"])
            relays |= {name for column in hosts.columns for name in column.unique().to_pylist() if name}
    study = dataset.path / STUDY
    if (study / JOURNAL).is_file():
        with closing(sqlite3.connect(f"{(study / JOURNAL).resolve().as_uri()}?mode=ro", uri=True)) as journal:
            machines |= {json.loads(owner)["host"] for (owner,) in journal.execute("SELECT owner FROM runs")}
    relays -= {name for name in relays if name.rstrip("0123456789") in _ENDS}
    return Pseudonyms(_key(study), relays, machines - relays)


def _key(study: Path) -> bytes:
    study.mkdir(exist_ok=True)
    try:
        descriptor = os.open(study / KEY_FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return bytes.fromhex((study / KEY_FILE).read_text())
    with os.fdopen(descriptor, "w") as file:
        key = secrets.token_bytes(32)
        file.write(key.hex())
    return key


# -- what is said of it ----------------------------------------------------------------------------------


def _draw(draw: Draw | None, root: Path) -> int:
    """Draw the figures once, so that whoever draws them again can tell whether they are the same."""
    if draw is None:
        return 0
    folder = root / "figures"
    try:
        drawn = draw(root / _DATA, folder)
    except EarwitnessError as error:
        (root / _FIGURES).write_text(f"# {error}\n")
        shutil.rmtree(folder, ignore_errors=True)
        return 0
    sums = sorted((path.relative_to(folder).as_posix(), _sha256(path)) for path in drawn)
    (root / _FIGURES).write_text("".join(f"{digest}  {name}\n" for name, digest in sums))
    shutil.rmtree(folder)
    return len(sums)


def _write_about(
    root: Path, top: str, calls: int, audio: bool, pseudonyms: bool, left_out: Counter[str], figures: int
) -> None:
    versions: dict[str, set[str]] = {}
    for path in (root / _DATA / CALLS).glob(f"*/{RECORD}"):
        for name, value in json.loads(path.read_bytes()).get("versions", {}).items():
            versions.setdefault(name, set()).add(value)
    about: dict[str, Any] = {
        "bundle_version": BUNDLE_VERSION,
        "calls": calls,
        "audio": audio,
        "pseudonyms": pseudonyms,
        "left_out": dict(left_out),
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
    """A tar whose bytes depend on its files alone: names in order, no times, no owners."""
    draft = root / ".packed"
    with (
        draft.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=6) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name in names:
            entry = tarfile.TarInfo(f"{top}/{name}")
            entry.size, entry.mode = (root / name).stat().st_size, 0o644
            with (root / name).open("rb") as file:
                tar.addfile(entry, file)
    draft.replace(out)


def _link(source: Path, target: Path) -> None:
    """The same file where the file system permits, else a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
