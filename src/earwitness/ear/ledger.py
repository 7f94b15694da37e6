"""The ledger as a table: every frame sent and every gap in playing, in time order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from earwitness.arrays import I64
from earwitness.ear.account import CODE, FATES, Account, spoken_ns
from earwitness.ear.base import Fate
from earwitness.ear.losses import frames_in_each, inferred_losses
from earwitness.ear.replay import Replay
from earwitness.trace.model import UNKNOWN, Trace

if TYPE_CHECKING:
    import pandas as pd

Columns = dict[str, NDArray[Any]]

NO_PACKET = -1
"""`packet` value of rows without a packet in the trace."""


def ledger_table(
    trace: Trace, played: Replay, accounted: Account, delay_ns: int = 0, round_trip_ms: float | None = None
) -> pd.DataFrame:
    """The ledger: a row for each frame sent, and for each frame length of playing that no frame filled.

    Columns: `packet` (row of the trace, -1 if none), `part` (position in the packet), `sequence`, `timestamp`,
    `sent_ns`, `arrived_ns`, `due_ns`, `played_ns` (ns on the arrival clock; NA if it did not happen or is unknown),
    `audio_ms` (start position in the audio; NaN if not played), `fate`, `playout_delay_ms` (played - arrived) and
    `delay_ms` (played - spoken, mouth to ear). Frames known only from gaps in the sequence numbers are included as
    lost. Rows are ordered by the time they were played or due.
    """
    frames = played.frames
    frame_ns = frames.stream.frame_ns
    spoken, _ = spoken_ns(trace, frames.packet_ns, round_trip_ms)
    offset = _within_pull_ns(played, accounted)
    was_played = accounted.pull >= 0
    played_ns = np.where(was_played, played.pulled_ns[accounted.pull] + offset + delay_ns, UNKNOWN)
    arrived_ns = trace.arrived_ns[frames.packet]
    sent_ns = trace.sent_ns[frames.packet] if trace.one_clock else np.full(len(frames), UNKNOWN)
    audio_ns = np.arange(len(played)) * frame_ns + delay_ns
    rows: Columns = {
        "packet": frames.packet,
        "part": frames.part,
        "sequence": trace.sequence[frames.packet],
        "timestamp": frames.timestamp,
        "sent_ns": sent_ns,
        "arrived_ns": arrived_ns,
        "due_ns": accounted.due_ns,
        "played_ns": played_ns,
        "audio_ms": np.where(was_played, (audio_ns[accounted.pull] + offset) / 1e6, np.nan),
        "fate": accounted.fate,
        "playout_delay_ms": np.where(was_played, (played_ns - arrived_ns) / 1e6, np.nan),
        "delay_ms": np.where(was_played, (played_ns - spoken[frames.packet] - frames.part * frame_ns) / 1e6, np.nan),
    }
    gap = np.flatnonzero(played.frame < 0)
    gaps = _blank(len(gap)) | {
        "timestamp": played.start[gap],
        "played_ns": played.pulled_ns[gap] + delay_ns,
        "due_ns": played.pulled_ns[gap],
        "audio_ms": audio_ns[gap] / 1e6,
        "fate": accounted.source[gap],
    }
    parts = [rows, gaps, _holes(trace, played)]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in rows}
    when = np.where(columns["played_ns"] != UNKNOWN, columns["played_ns"], columns["due_ns"])
    order = np.lexsort((columns["timestamp"], when, when == UNKNOWN))
    return _as_table({name: column[order] for name, column in columns.items()})


def _within_pull_ns(played: Replay, accounted: Account) -> I64:
    """How far into its pull a frame begins, (m,) ns; 0 if media plays at normal speed."""
    frames = played.frames
    pull = np.maximum(accounted.pull, 0)
    span = np.maximum(played.end[pull] - played.start[pull], 1)
    into = np.clip(frames.timestamp - played.start[pull], 0, span) * frames.stream.frame_ns // span
    return np.where((accounted.pull >= 0) & (span != frames.stream.frame_ticks), into, 0)


def _blank(n: int) -> Columns:
    """Columns of n rows without a packet."""
    unknown = np.full(n, UNKNOWN, dtype=np.int64)
    nothing = np.full(n, np.nan)
    return {
        "packet": np.full(n, NO_PACKET, dtype=np.int64),
        "part": np.zeros(n, dtype=np.int64),
        "sequence": np.full(n, -1, dtype=np.int64),
        "timestamp": unknown,
        "sent_ns": unknown,
        "arrived_ns": unknown,
        "due_ns": unknown,
        "played_ns": unknown,
        "audio_ms": nothing,
        "fate": np.zeros(n, dtype=np.int8),
        "playout_delay_ms": nothing,
        "delay_ms": nothing,
    }


def _holes(trace: Trace, played: Replay) -> Columns:
    """Rows of the frames known only from gaps in the sequence numbers."""
    sequence, timestamp = inferred_losses(trace)
    each = frames_in_each(trace, played.frames, len(sequence))
    n = len(sequence) * each
    part = np.tile(np.arange(each, dtype=np.int64), len(sequence))
    when = np.repeat(timestamp, each) + part * played.frames.stream.frame_ticks
    passed = np.searchsorted(np.maximum.accumulate(played.end), when, side="right")
    due = np.full(n, UNKNOWN, dtype=np.int64)
    due[passed < len(played)] = played.pulled_ns[passed[passed < len(played)]]
    return _blank(n) | {
        "part": part,
        "sequence": np.repeat(sequence, each),
        "timestamp": when,
        "due_ns": due,
        "fate": np.full(n, CODE[Fate.LOST], dtype=np.int8),
    }


def _as_table(columns: Columns) -> pd.DataFrame:
    import pandas as pd  # takes half a second; commands that need no table should not wait for it

    table: dict[str, object] = dict(columns)
    for name in ("sent_ns", "arrived_ns", "due_ns", "played_ns"):
        table[name] = pd.arrays.IntegerArray(columns[name], columns[name] == UNKNOWN)
    codes: list[int] = columns["fate"].tolist()
    table["fate"] = pd.Categorical.from_codes(codes, categories=pd.Index([str(fate) for fate in FATES]))
    return pd.DataFrame(table)
