"""A stored call: its record, and its packets and audio on request."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from earwitness.archive.layout import (
    CAPTURES,
    REFERENCE,
    TRUTH,
    heard_file,
    ledger_file,
    trace_file,
)
from earwitness.archive.record import CallRecord, read_record
from earwitness.archive.rows import record_rows
from earwitness.archive.schema import Row
from earwitness.errors import EarwitnessError, InputError
from earwitness.speech.sound import Sound
from earwitness.trace.model import Trace
from earwitness.trace.parquet import read_plain

if TYPE_CHECKING:
    import pandas as pd

_LEDGER = ("packet", "part", "timestamp", "due_ns", "audio_ms")
"""Numeric columns of a ledger."""


def write_ledger(folder: Path, direction: str, ledger: pd.DataFrame) -> None:
    """Write an ear's ledger into a call's folder."""
    pq.write_table(
        pa.Table.from_pandas(ledger, preserve_index=False), folder / ledger_file(direction), compression="zstd"
    )


@dataclass(frozen=True)
class StoredCall:
    """A call's folder. Files are read on request; an InputError says what is missing or damaged."""

    folder: Path

    @property
    def call_id(self) -> str:
        """Identity of the call."""
        return self.folder.name

    @cached_property
    def record(self) -> CallRecord:
        """What was requested, what it ran on, how it ended."""
        return read_record(self.folder)

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows, one per direction."""
        return record_rows(self.record)

    def _repr_html_(self) -> str:
        """The call as HTML for a notebook: its known values, one column per direction."""
        import pandas as pd

        known = {row.direction: {k: v for k, v in row.to_dict().items() if v not in (None, "")} for row in self.rows}
        return pd.DataFrame(known).dropna(how="all").to_html(na_rep="", max_rows=None)

    def has(self, name: str) -> bool:
        """Whether the call has the file `name` (see `earwitness.archive.layout`)."""
        return (self.folder / name).is_file()

    def trace(self, direction: str) -> Trace:
        """The packets of one direction."""
        from earwitness.trace.table import read_trace

        return read_trace(self._file(trace_file(direction)))

    def heard(self, direction: str) -> Sound:
        """What the listener of this direction heard."""
        return self._sound(heard_file(direction))

    def reference(self) -> Sound:
        """The reference speech."""
        return self._sound(REFERENCE)

    def ledger(self, direction: str) -> pd.DataFrame:
        """The fate of every frame of one direction (`earwitness.ear.ledger`); missing times are NA."""
        frame = self._table(ledger_file(direction))
        numbers = [frame[name].dtype.kind in "iuf" for name in _LEDGER if name in frame]
        if len(numbers) < len(_LEDGER) or not all(numbers) or "fate" not in frame:
            raise self._damaged(self.folder / ledger_file(direction), "it has other columns than a ledger")
        if frame[["packet", "part"]].isna().any(axis=None):
            raise self._damaged(self.folder / ledger_file(direction), "a frame of it is of no packet")
        return frame

    def truth(self) -> pd.DataFrame:
        """The emulator's own log of the call's packets (lab only)."""
        return self._table(TRUTH)

    def capture(self, side: str) -> Path:
        """The capture made at `caller` or `callee`."""
        return self._file(CAPTURES[side])

    def _file(self, name: str) -> Path:
        path = self.folder / name
        try:
            kind = path.stat().st_mode
        except OSError:
            kind = 0
        if not kind:
            raise InputError("reading", path, "the call has no such file", "see its record for how the call ended")
        if not stat.S_ISREG(kind):
            raise InputError("reading", path, "it is not a regular file", "restore the file, or remove it")
        return path

    def _table(self, name: str) -> pd.DataFrame:
        import pandas as pd

        path = self._file(name)
        table = read_plain(path, "reading", "make it again from the captures")
        try:
            # The metadata that pandas adds says nothing that the column types do not.
            frame: pd.DataFrame = table.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get, ignore_metadata=True)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise self._damaged(path, error) from None
        return frame

    def _sound(self, name: str) -> Sound:
        from earwitness.speech.wav import read_wav

        path = self._file(name)
        try:
            return Sound(*read_wav(path))
        except EarwitnessError:
            raise
        except (OSError, ValueError) as error:
            raise self._damaged(path, error) from None

    @staticmethod
    def _damaged(path: Path, error: Exception | str) -> InputError:
        return InputError("reading", path, error, "the file is damaged; make it again from the captures")
