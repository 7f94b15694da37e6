"""What if these calls had been heard through another jitter buffer? All calls of a data set x buffers, in parallel.

Each (call, direction, buffer) is replayed and scored. Results are kept, so an interrupted run can be continued. The
same calls and buffers give the same bytes, regardless of the number of workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from earwitness.ear.buffers import buffer as buffer_named
from earwitness.errors import EarwitnessError
from earwitness.events import Event, Listener, Progress, ignore
from earwitness.replay.hearing import score_of
from earwitness.replay.tasks import ReplayTask, replay_all
from earwitness.replay.whatif_calls import DIRECTION_COLUMNS, find_directions, hear_direction
from earwitness.replay.whatif_journal import Record
from earwitness.replay.whatif_summary import summarise_whatif
from earwitness.score.emodel import e_model, mos_cqe_of_r, r_of_mos
from earwitness.score.played import rate_played

DEFAULT_BUFFERS = (
    *(f"fixed:{ms}" for ms in (40, 60, 80, 100, 120, 160, 200, 240, 300, 400)),
    "pjmedia",
    *(f"adaptive:{worth}" for worth in (5, 10)),
    "adaptive",
    *(f"adaptive:{worth}" for worth in (50, 100)),
    *(f"oracle:{ms}" for ms in (80, 120, 160, 200, 250, 300, 400, 500)),
)
"""Buffers compared by default: fixed delays over the range that phones use; the study's phones' buffer; the adaptive
buffer from impatient to patient; and the oracle bound at comparable delays."""

SHARES = (
    "played_ratio",
    "late_ratio",
    "lost_ratio",
    "discarded_ratio",
    "concealed_ratio",
    "stretched_ratio",
    "pause_ratio",
)
COLUMNS = (
    *DIRECTION_COLUMNS,
    "rtcp_rtt_ms",
    "buffer",
    "kind",
    "concealment",
    "mos_lqo",
    "pesq_raw",
    "mos_lqo_wb",
    "mos_cqe",
    "mos_cqe_heard",
    "playout_delay_ms",
    "playout_delay_p95_ms",
    "mouth_to_ear_ms",
    "mouth_to_ear_p95_ms",
    "mouth_to_ear_basis",
    *SHARES,
    "seconds",
    "sample_rate",
    "refused",
    "doubt",
)
"""Columns of `WhatIf.calls`. `playout_delay_ms` is the delay added by the buffer; `kind` the buffer's name without its
settings; `mos_cqe_heard`: see `conversational`; `refused`: why there is no score; `doubt`: implausible packets
(`Heard.notes`). Others as in the data dictionary."""


@dataclass(frozen=True)
class WhatIf:
    """`calls`: one row per call, direction and buffer (`COLUMNS`); `summary`: one row per path, codec and buffer
    (`whatif_summary.SUMMARY`); `left_out`: (call, direction, reason) of what could not be heard again."""

    calls: pd.DataFrame
    summary: pd.DataFrame
    left_out: tuple[tuple[str, str, str], ...]
    made_anew: int
    """The number of replays made in this run; the others were kept from earlier ones."""

    @property
    def refused(self) -> tuple[tuple[str, str, str], ...]:
        """(call, direction and buffer, reason) of the replays without a score."""
        return refused_of(self.calls)


def what_if(
    dataset: Path,
    buffers: Sequence[str] = DEFAULT_BUFFERS,
    *,
    out: Path | None = None,
    reference: str | Path | None = None,
    captures: Path | None = None,
    calls: int | None = None,
    executor: Executor | None = None,
    on_event: Listener = ignore,
    seed: int = 1,
) -> WhatIf:
    """Replay every direction of a data set through every buffer.

    Results are kept in `out` (default: the folder whatif of the data set), so a run can be stopped and continued at any
    time. `reference`, `captures`, `calls`: see `find_directions`. `executor` runs the replays (a process pool, or one
    over several machines that share the files); without one they run here. `seed`: for the intervals' resampling.
    Raises InputError for an unknown buffer, or a data set that cannot be heard.
    """
    specs = list(dict.fromkeys(buffer_named(spec).spec for spec in buffers))
    found = find_directions(dataset, reference=reference, captures=captures, calls=calls)
    tasks = [ReplayTask(one, spec) for one in found.directions for spec in specs]
    anew = 0

    def count(event: Event) -> None:
        nonlocal anew
        if isinstance(event, Progress) and not event.what:
            anew = event.total - event.done
        on_event(event)

    records = replay_all(
        "what-if",
        tasks,
        replay_scored,
        refused=unscored,
        folder=out or dataset / "whatif",
        executor=executor,
        on_event=count,
    )
    table = whatif_table(records)
    return WhatIf(table, summarise_whatif(table, specs, seed=seed), found.left_out, anew)


def unscored(task: ReplayTask, why: str) -> Record:
    """The row of a direction and buffer without a score."""
    kind = task.buffer.partition(":")[0]
    return {**task.heard.identity(), "buffer": task.buffer, "kind": kind, "refused": why}


def replay_scored(task: ReplayTask) -> Record:
    """Hear one direction through one buffer and score it: one row. If that fails, the row contains the reason."""
    one = task.heard
    record = unscored(task, "")
    try:
        (heard,), codec, said = hear_direction(one, [task.buffer])
    except EarwitnessError as error:
        return {**record, "refused": str(error)}
    scored = score_of(heard, said).record()
    delay_ms = scored["mouth_to_ear_ms"]
    record |= {name: scored[name] for name in COLUMNS if name in scored and name not in record}
    record["refused"] = scored["score_refused"]
    if delay_ms == delay_ms:
        record["mos_cqe"] = rate_played(heard, codec).mos_cqe
        if scored["mos_lqo"] is not None:
            record["mos_cqe_heard"] = conversational(scored["mos_lqo"], max(0.0, delay_ms))
    return record


def conversational(mos_lqo: float, mouth_to_ear_ms: float) -> float:
    """Combine what was heard and how late into one MOS-CQE: the rating of the MOS-LQO minus G.107's delay impairment
    (Id).

    The E-model based on codec and lost packets alone cannot distinguish buffers: it ignores speech cut or stretched by
    a changing delay, which PESQ detects. A rating above that of an unimpaired call is limited to it.
    """
    clear = e_model("g711u", loss_ratio=0.0, mouth_to_ear_ms=0.0)
    late = e_model("g711u", loss_ratio=0.0, mouth_to_ear_ms=mouth_to_ear_ms)
    return mos_cqe_of_r(min(r_of_mos(mos_lqo), clear.r) - (clear.r - late.r))


def refused_of(calls: pd.DataFrame) -> tuple[tuple[str, str, str], ...]:
    """(call, direction and buffer, reason) of the rows without a score."""
    chosen = calls[calls["refused"] != ""]
    columns = (chosen[name].astype(str) for name in ("call_id", "direction", "buffer", "refused"))
    return tuple((call, f"{direction} {buffer}", why) for call, direction, buffer, why in zip(*columns, strict=True))


def whatif_table(records: Sequence[Record]) -> pd.DataFrame:
    """Records as a data frame with `COLUMNS`: numbers as float64 (NaN: not measured), texts as text."""
    texts = {"call_id", "direction", "condition", "path", "codec", "place", "buffer", "kind", "concealment"}
    texts |= {"mouth_to_ear_basis", "refused", "doubt"}
    columns: dict[str, Any] = {}
    for name in COLUMNS:
        values = [record.get(name) for record in records]
        if name in texts:
            columns[name] = pd.Series([value if isinstance(value, str) else "" for value in values], dtype="object")
        else:
            columns[name] = as_numbers(values)
    return pd.DataFrame(columns)


def as_numbers(values: Sequence[Any]) -> pd.Series[float]:
    """A float64 column, NaN where a value is not a number."""
    return pd.Series([value if isinstance(value, int | float) else None for value in values], dtype="float64")
