"""Ways to spoil a data set, seeded: what a fault of the disk, an older program or a stranger may leave in its files.

Each takes a path and a `random.Random` and changes the file, or what stands in its place.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import socket
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

Change = Callable[[Path, random.Random], None]

NUMBERS: tuple[Any, ...] = (
    0, 1, -1, 2, 255, 65_536, 2**31 - 1, 2**31, -(2**31), 2**53, 2**62, 2**63 - 1, -(2**63), 2**63, 2**64,
    10**30, 10**400,
    0.0, -0.0, 0.5, 1.5, -3.0, 1e-300, 1e12, 1e15, 1e300, -1e300, float("nan"), float("inf"), float("-inf"),
)  # fmt: skip
TEXTS = (
    "", " ", "x", "\ud800", "a\udcffb", "\x00", "\x1b[2J\x1b]0;x\x07", "[bold]x[/nope]", "$x^{$", "=cmd()", "a\nb",
    "../../x", "/etc/passwd",
    "\u202e", "é" * 199, "x" * 5_000, "x" * 200_000, "<script>alert(1)</script>", "{{ 7*7 }}",
    "completed", "to_callee", "opus:99999999",
    "fixed:999999999", "oracle:-1", "adaptive:1e9", "speex:11", "%s%n", "NaN", "2026-13-45T99:99:99Z",
    "0001-01-01T00:00:00Z",
)  # fmt: skip
INTEGERS = (
    0,
    1,
    -1,
    160,
    2**15,
    2**16,
    2**31 - 1,
    -(2**31),
    2**32,
    2**48,
    2**62,
    2**63 - 1,
    -(2**63),
    10**18,
    -(10**18),
)


def _value(rng: random.Random) -> Any:
    kind = rng.randrange(8)
    if kind < 3:
        return rng.choice(NUMBERS)
    if kind < 5:
        return rng.choice(TEXTS)
    if kind == 5:
        nested: Any = rng.choice(NUMBERS)
        for _ in range(rng.choice((1, 3, 60, 800))):
            nested = [nested] if rng.random() < 0.5 else {"a": nested}
        return nested
    return rng.choice((None, True, False, [], {}, [None], [1, "x"], {"": ""}, {"\ud800": 1}, ["x"] * 2000))


def _places(plain: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) of a JSON value."""
    found = []
    stack = [plain] if isinstance(plain, dict | list) else []
    while stack:
        one = stack.pop()
        for key in list(one) if isinstance(one, dict) else range(len(one)):
            found.append((one, key))
            if isinstance(one[key], dict | list):
                stack.append(one[key])
    return found


def spoil_json(text: str, rng: random.Random) -> str:
    """A few values of a JSON text changed, taken out, doubled; sometimes its letters."""
    plain = json.loads(text)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        places = _places(plain)
        if not places:
            break
        container, key = rng.choice(places)
        how = rng.randrange(10)
        if how < 6:
            container[key] = _value(rng)
        elif how == 6:
            del container[key]
        elif how == 7 and isinstance(container, dict):
            container[rng.choice(TEXTS)] = _value(rng)
        elif how == 8 and isinstance(container[key], list):
            container[key] = container[key] * rng.choice((2, 50))
        elif isinstance(container[key], int | float) and not isinstance(container[key], bool):
            with contextlib.suppress(OverflowError):
                container[key] = container[key] * rng.choice((-1, 10, 1e6, 10**20))
    changed = json.dumps(plain, ensure_ascii=rng.random() < 0.5)
    if rng.random() < 0.05:
        changed = changed.replace('{"', '{"call_id": "x", "', 1)
    return changed


def spoil_record(path: Path, rng: random.Random) -> None:
    """The values of a JSON file."""
    path.write_bytes(spoil_json(path.read_text(encoding="utf-8"), rng).encode("utf-8", "surrogatepass"))


def spoil_bytes(path: Path, rng: random.Random) -> None:
    """Bits, words, cuts, repeats; nothing at all."""
    content = bytearray(path.read_bytes())
    for _ in range(rng.choice((1, 1, 2, 8))):
        if not content:
            break
        at, how = rng.randrange(len(content)), rng.randrange(8)
        if how == 0:
            content[at] ^= 1 << rng.randrange(8)
        elif how == 1:
            word = rng.choice((0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, len(content)))
            content[at : at + 4] = word.to_bytes(4, "little")
        elif how == 2:
            del content[at:]
        elif how == 3:
            del content[at : at + rng.choice((1, 4, 100))]
        elif how == 4:
            content[at:at] = content[: rng.randrange(2000)]
        elif how == 5:
            content[at:at] = rng.randbytes(rng.randrange(64))
        elif how == 6:
            # Heads of sound files, feet of Parquet files: where the lengths are.
            near = rng.choice((rng.randrange(60), len(content) - 1 - rng.randrange(2000)))
            content[max(0, min(near, len(content) - 1))] = rng.randrange(256)
        else:
            content = bytearray(rng.choice((b"", b"\x00" * 1000, b"{}", b"PAR1", b"RIFF", b"null\n", b"\xff\xfe")))
    path.write_bytes(content)


def spoil_kind(path: Path, rng: random.Random) -> None:
    """Something else where the file or folder was."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
    how = rng.randrange(9)
    if how == 0:
        os.mkfifo(path)
    elif how == 1:
        path.mkdir()
    elif how == 2:
        path.symlink_to(
            rng.choice(("/dev/zero", "/dev/full", "/dev/tty", "/proc/self/mem", "/etc/passwd", "..", path.name))
        )
    elif how == 3:
        path.symlink_to("nowhere")
    elif how == 4:
        here = Path.cwd()
        os.chdir(path.parent)  # a socket's path is at most 107 bytes
        try:
            socket.socket(socket.AF_UNIX).bind(path.name)
        finally:
            os.chdir(here)
    elif how == 5:
        with path.open("wb") as file:
            file.truncate(rng.choice((1 << 20, 300 << 20, 1 << 40)))
    elif how == 6:
        path.write_bytes(b"")
        path.chmod(0)
    # else: gone


def spoil_table(path: Path, rng: random.Random) -> None:
    """The values, rows, columns, types or metadata of a Parquet file."""
    table = pq.read_table(path, use_threads=False)
    for _ in range(rng.choice((1, 1, 2, 3))):
        table = rng.choice((_spoil_column, _spoil_column, _spoil_column, _spoil_rows, _spoil_columns, _spoil_about))(
            table, rng
        )
    with contextlib.suppress(pa.ArrowException):  # what Arrow cannot write is no file
        pq.write_table(table, path, compression=rng.choice(("zstd", "snappy", "none")))


def _spoil_column(table: pa.Table, rng: random.Random) -> pa.Table:
    if not table.num_columns or not table.num_rows:
        return table
    at = rng.randrange(table.num_columns)
    field = table.schema.field(at)
    values = table.column(at).to_pylist()
    first = rng.randrange(len(values))
    count = rng.choice((1, 1, 3, 20, len(values)))
    wide = {8: (0, 255), 16: (-(2**15), 2**15 - 1), 32: (-(2**31), 2**31 - 1), 64: (-(2**63), 2**63 - 1)}
    jump = rng.choice(INTEGERS)
    for number, row in enumerate(range(first, min(len(values), first + count))):
        if rng.random() < 0.1:
            values[row] = None
        elif pa.types.is_integer(field.type):
            low, high = wide[field.type.bit_width]
            how = rng.randrange(3)
            base = int(values[row] or 0)
            new = rng.choice(INTEGERS) if how == 0 else base + jump if how == 1 else base + jump * (number % 2)
            values[row] = max(low, min(high, new))
        elif pa.types.is_floating(field.type):
            values[row] = float(rng.choice([value for value in NUMBERS if isinstance(value, float)]))
        elif pa.types.is_boolean(field.type):
            values[row] = not values[row]
        elif pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type):
            size = rng.choice((0, 1, 2, 33, 160, 320, 1400, 60_000 if count < 30 else 160))
            values[row] = rng.choice((bytes(size), rng.randbytes(min(size, 2000)), b"\xff" * size))
        else:
            values[row] = rng.choice(TEXTS).encode("utf-8", "replace").decode()[:5000]
    return table.set_column(at, field, pa.array(values, field.type))


def _spoil_rows(table: pa.Table, rng: random.Random) -> pa.Table:
    n = table.num_rows
    if not n:
        return table
    how = rng.randrange(6)
    generator = np.random.default_rng(rng.randrange(2**32))
    rows = np.arange(n)
    if how == 0:
        rows = rows[: rng.choice((0, 1, 2, 20))]
    elif how == 1:
        rows = generator.permutation(n)
    elif how == 2:
        rows = np.repeat(rows, rng.choice((2, 5)))
    elif how == 3:
        rows = generator.integers(0, n, rng.choice((n, 3000)))
    elif how == 4:
        rows = np.delete(rows, generator.integers(0, n, max(1, n // 3)))
    else:
        rows = rows[::-1]
    return table.take(pa.array(rows))


def _spoil_columns(table: pa.Table, rng: random.Random) -> pa.Table:
    if not table.num_columns:
        return table
    at, how = rng.randrange(table.num_columns), rng.randrange(4)
    name = table.column_names[at]
    if how == 0:
        return table.drop_columns([name])
    if how == 1:
        return table.rename_columns(
            [rng.choice(TEXTS[:1] + TEXTS[5:9]) if one == name else one for one in table.column_names]
        )
    if how == 2:
        with contextlib.suppress(pa.ArrowException, ValueError):
            kind = rng.choice((pa.float64(), pa.string(), pa.int8(), pa.uint64(), pa.float32(), pa.timestamp("ns")))
            return table.set_column(at, name, table.column(at).cast(kind, safe=False))
        return table
    return table.append_column(rng.choice((name, "more")), pa.array([[1]] * table.num_rows))


def _spoil_about(table: pa.Table, rng: random.Random) -> pa.Table:
    about = dict(table.schema.metadata or {})
    key = rng.choice(sorted(about)) if about else b"earwitness.trace"
    if rng.random() < 0.2:
        about.pop(key, None)
    else:
        try:
            about[key] = spoil_json(about[key].decode(), rng).encode("utf-8", "surrogatepass")
        except (KeyError, ValueError):
            about[key] = rng.randbytes(20)
    return table.replace_schema_metadata(about)


def spoil_lines(path: Path, rng: random.Random) -> None:
    """Lines of JSON: some changed, cut, doubled, or too long."""
    lines = path.read_text(encoding="utf-8").splitlines()
    for _ in range(rng.choice((1, 2, 5))):
        if not lines:
            break
        at, how = rng.randrange(len(lines)), rng.randrange(6)
        try:
            if how < 3:
                lines[at] = spoil_json(lines[at], rng)
            elif how == 3:
                lines[at] = lines[at][: rng.randrange(len(lines[at]) + 1)]
            elif how == 4:
                lines.insert(at, lines[rng.randrange(len(lines))])
            else:
                lines.insert(at, rng.choice(("", "null", "[" * 5000, "x" * 3_000_000, '{"key": 1, "record": 2}')))
        except ValueError:
            continue
    path.write_bytes("\n".join([*lines, ""]).encode("utf-8", "surrogatepass"))


def spoil_database(path: Path, rng: random.Random) -> None:
    """What stands in an SQLite file: values, and what a table's name means."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        table = rng.choice(tables)
        columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
        how = rng.randrange(6)
        with contextlib.suppress(sqlite3.Error, UnicodeEncodeError, OverflowError):
            if how == 0:
                database.execute(f"DROP TABLE {table}")
            elif how == 1:
                database.execute(f"DELETE FROM {table}")
            elif how == 2:
                database.execute(f"DROP TABLE {table}")
                endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n"
                database.execute(f"CREATE VIEW {table} AS {endless}")
            else:
                given = rng.choice((*TEXTS, *INTEGERS, b"\xff\xfe", 1e300, None, "[]", '{"a": 1}'))
                database.execute("PRAGMA ignore_check_constraints = ON")
                column = rng.choice(columns)
                if isinstance(given, str) and rng.random() < 0.2:
                    database.execute(f"UPDATE {table} SET {column} = CAST(x'ff80' AS TEXT)")
                else:
                    database.execute(f"UPDATE {table} SET {column} = ?", (given,))


def spoil_name(path: Path, rng: random.Random) -> None:
    """Another name of a folder or file, one that cannot be, or a second one of the kind beside it."""
    names = (b"\xff\xfe", b"a b", b"-rf", "Köln".encode(), b".hidden", b"x" * 200, b"new\nline", b"'; DROP", b"call-9")
    target = os.fsencode(path.parent) + b"/" + rng.choice(names)
    if rng.random() < 0.5:
        os.rename(os.fsencode(path), target)  # noqa: PTH104
    elif path.is_dir():
        shutil.copytree(path, os.fsdecode(target))
    else:
        shutil.copyfile(os.fsencode(path), target)
