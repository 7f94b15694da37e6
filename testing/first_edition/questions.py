"""What is asked of the first edition's artefacts through the command line, and answers as plain JSON.

Run as a program it prints the answers of the installed version: `python -m testing.first_edition.questions`. That was
done once, with the first edition, for `tests/first_edition/data/expected.json`.
"""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from testing.commands import EARWITNESS, REPOSITORY, extract

DATA = REPOSITORY / "tests" / "first_edition" / "data"
BUFFERS = ("--buffer", "fixed:60", "--buffer", "fixed:200", "--buffer", "adaptive")
"""Those of the half-run what-if."""
BY_CODEC = (
    "SELECT path, codec, count(*) AS n, median(mos_lqo) AS mos, max(owd_p95_ms) AS owd FROM calls"
    " GROUP BY path, codec ORDER BY path, codec"
)
PACKETS = "SELECT call_id, direction, count(*) AS n FROM {} GROUP BY call_id, direction ORDER BY call_id, direction"
TRUTH = "SELECT call_id, count(*) AS n, sum(length) AS bytes FROM truth GROUP BY call_id ORDER BY call_id"
PLANNED = "SELECT * FROM planned ORDER BY position"
ATTEMPTS = "SELECT * FROM attempts ORDER BY position, attempt"

Records = list[dict[str, Any]]


def unpack(name: str, into: Path) -> Path:
    """Unpack one artefact; returns its top folder."""
    (packed,) = DATA.glob(f"{name}.tar.*")
    with tarfile.open(packed) as tar:
        extract(tar, into)
    return into / name


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command line as a process of its own."""
    return subprocess.run([*EARWITNESS, *map(str, arguments)], capture_output=True, text=True, timeout=240, check=False)


def records(*arguments: object) -> Records:
    """What the command prints with `--json`; it has to end with 0."""
    done = run(*arguments, "--json")
    assert done.returncode == 0, f"{arguments}: {done.stderr}"
    return [json.loads(line) for line in done.stdout.splitlines()]


def without(found: Records, *columns: str) -> Records:
    """The records less columns that hold prose, or that the day of the asking changes."""
    return [{name: value for name, value in record.items() if name not in columns} for record in found]


# -- the questions ------------------------------------------------------------------------------------------


def rows_rebuilt(folder: Path) -> Records:
    """All rows of `calls`, once its index is gone and a bundle, which makes one from the records, was packed."""
    data = unpack("calls", folder)
    for name in ("calls.parquet", "calls.csv"):
        (data / name).unlink()
    records("bundle", data, "--no-figures", "--no-audio", "--out", folder / "again.tar.gz")
    with tarfile.open(folder / "again.tar.gz") as tar:
        extract(tar, folder)
    return rows_of_index(folder / "again" / "data" / "calls.parquet")


def rows_of_index(path: Path) -> Records:
    """The rows of an index."""
    import pandas as pd

    plain = json.loads(pd.read_parquet(path).to_json(orient="records", double_precision=15))
    assert isinstance(plain, list)
    return plain


def rows_printed(folder: Path) -> Records:
    """All rows, as `report --json` prints them."""
    return records("report", unpack("calls", folder), "--out", folder / "report.html", "--calls", 0)


def page(folder: Path) -> list[list[float]]:
    """The figures of the report's verdict table, row by row; the page's words and order of tables may change."""
    done = run("report", unpack("calls", folder), "--out", folder / "report.html", "--calls", 1)
    assert done.returncode == 0, done.stderr
    html = (folder / "report.html").read_text(encoding="utf-8")
    table = html.split('<table class="sortable">')[1].split("</table>")[0]
    rows = [re.findall(r'data-v="([-0-9.e]+)"', row) for row in table.split("<tr")[2:]]
    return [[float(value) for value in row] for row in rows]


def exported(folder: Path) -> Records:
    """The published layout's table."""
    done = run("export", unpack("calls", folder), "--out", folder / "table.csv")
    assert done.returncode == 0, done.stderr
    return list(csv.DictReader(io.StringIO((folder / "table.csv").read_text(encoding="utf-8"))))


def compared(folder: Path) -> Records:
    """Paired differences by path, of calls placed one by one."""
    return without(records("compare", unpack("calls", folder), "--any-instrument"), "note")


def compared_study(folder: Path) -> Records:
    """Paired differences by codec, of the half-run study."""
    return without(records("compare", unpack("half", folder), "--by", "codec", "--any-instrument"), "note")


def queried(folder: Path) -> dict[str, Records]:
    """Answers in SQL over every table of a data set of calls."""
    data = unpack("calls", folder)
    asked = (BY_CODEC, PACKETS.format("packets"), PACKETS.format("frames"), TRUTH)
    return {sql: records("query", data, sql) for sql in asked}


def queried_study(folder: Path) -> dict[str, Records]:
    """Answers in SQL over the tables of a study."""
    data = unpack("half", folder)
    return {sql: records("query", data, sql) for sql in (PLANNED, ATTEMPTS)}


def timing(folder: Path) -> Records:
    """Timing of every stream of the captures."""
    captures = sorted(unpack("captures", folder).glob("*.pcap"))
    return without(records("timing", *captures), "capture")


def what_if(folder: Path) -> Records:
    """The first calls through a buffer that the half-run what-if did not have."""
    return without(records("whatif", unpack("calls", folder), "--buffer", "fixed:100", "--calls", 2), "why", "kind")


def what_if_resumed(folder: Path) -> Records:
    """The half-run what-if, to its end."""
    data = folder / "calls"
    if not data.exists():
        half_run_what_if(folder)
    return without(records("whatif", data, *BUFFERS), "why", "kind")


def half_run_what_if(folder: Path) -> Path:
    """The data set of calls with the results of the what-if that was killed."""
    data = unpack("calls", folder)
    shutil.copytree(unpack("whatif", folder), data / "whatif")
    return data


def status(folder: Path) -> Records:
    """How far the half-run study is."""
    return records("study", "status", unpack("half", folder))


def status_of_day(folder: Path) -> Records:
    """How far the watch was on its day."""
    (day,) = unpack("watch", folder).iterdir()
    return records("study", "status", day)


def status_in_bundle(folder: Path) -> Records:
    """How far the study in the bundle with pseudonyms is."""
    return records("study", "status", unpack("pseudonyms", folder) / "data")


def rows_of_bundles(folder: Path) -> dict[str, Records]:
    """All rows of both bundles."""
    names = ("plain", "pseudonyms")
    return {name: records("query", unpack(name, folder) / "data", "SELECT * FROM calls") for name in names}


def rows_imported(folder: Path) -> Records:
    """All rows of the imported data set."""
    return records("query", unpack("imported", folder), "SELECT * FROM calls ORDER BY call_id, direction")


QUESTIONS: dict[str, Callable[[Path], Any]] = {
    one.__name__: one
    for one in (
        rows_rebuilt,
        rows_printed,
        page,
        exported,
        compared,
        compared_study,
        queried,
        queried_study,
        timing,
        what_if,
        what_if_resumed,
        status,
        status_of_day,
        status_in_bundle,
        rows_of_bundles,
        rows_imported,
    )
}


def main() -> None:
    answers = {}
    for name, ask in QUESTIONS.items():
        with tempfile.TemporaryDirectory() as folder:
            answers[name] = ask(Path(folder))
    print(json.dumps(answers, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
