"""One direction of a call as stacked tracks on one time axis: what was said, what was heard, and why.

The time axis is that of the speech: second 3 of every track is about the sound that the speaker made at second 3. The
heard audio is shifted left by its delay, so that words line up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import pandas as pd

from earwitness.archive.layout import ledger_file
from earwitness.archive.stored import StoredCall
from earwitness.arrays import F64
from earwitness.errors import InputError
from earwitness.report.align import reference_at_s
from earwitness.report.plot import Axis, Plot, Series, bars, dots, envelope, line, rug, thin, x_ticks, y_ticks
from earwitness.report.words import number_text
from earwitness.speech.sound import Sound
from earwitness.trace.jitter import jitter_ms
from earwitness.trace.model import LOST, UNKNOWN, Trace

WAVE_HEIGHT = 54
LANE_HEIGHT = 13
DELAY_HEIGHT = 120
JITTER_HEIGHT = 44

Thing = TypeVar("Thing")

LANES = (
    ("concealed", "concealed", "sound made up by the phone where none was there to play"),
    ("late", "late", "packets that came after their instant to play"),
    ("lost", "lost", "packets that never came"),
    ("discarded", "thrown away", "packets that came in time and were thrown away by the buffer"),
)


@dataclass(frozen=True)
class Tracks:
    """What the page draws and plays for one direction."""

    plots: tuple[Plot, ...]
    said: Sound | None
    heard: Sound | None
    heard_after_s: float
    """Position in the heard audio, s, at which second 0 of the speech is heard."""
    span_s: float
    notes: tuple[str, ...]
    """What could not be shown, and why."""


def tracks(call: StoredCall, direction: str) -> Tracks:
    """Read one direction of a call; missing or damaged parts become notes."""
    notes: list[str] = []
    trace = _read(lambda: call.trace(direction), notes)
    said = _read(call.reference, notes)
    heard = _read(lambda: call.heard(direction), notes)
    ledger = _read(lambda: call.ledger(direction), notes)
    if trace is not None and not len(trace):
        trace = None
    if ledger is not None and trace is not None and int(ledger["packet"].max() if len(ledger) else -1) >= len(trace):
        notes.append(f"{ledger_file(direction)}: it belongs to another trace with more packets")
        ledger = None
    after = _heard_after(call, direction, said, heard)
    span = _span(trace, said, heard, after)
    axis = Axis(0.0, span)
    plots: list[Plot] = []
    if said is not None:
        plots.append(_wave(said, 0.0, axis, "said", "What was said"))
    if heard is not None:
        made_up = () if ledger is None else (Series("band", _concealed(ledger, axis, after, WAVE_HEIGHT)),)
        says = "What was heard, moved so that words stand under themselves, with what the phone made up marked"
        plots.append(_wave(heard, -after, axis, "heard", says, made_up))
    if ledger is not None and trace is not None:
        plots += _lanes(ledger, trace, axis, after)
    if trace is not None:
        plots += _packets(trace, ledger, axis)
    ticks = x_ticks(axis, "s")
    plots = [replace(plot, x_lines=tuple(tick.at for tick in ticks)) for plot in plots]
    if plots:
        plots[-1] = replace(plots[-1], x_ticks=ticks)
    return Tracks(tuple(plots), said, heard, after, span, tuple(dict.fromkeys(notes)))


def delays_if_known_ms(trace: Trace) -> F64:
    """One-way delays of the packets that arrived, ms; empty if the two ends' clocks differ."""
    if not trace.one_clock:
        return np.zeros(0)
    both = trace.arrived & (trace.sent_ns != UNKNOWN)
    return np.asarray((trace.arrived_ns[both] - trace.sent_ns[both]) / 1e6)


def _read(what: Callable[[], Thing], notes: list[str]) -> Thing | None:
    try:
        return what()
    except InputError as error:
        notes.append(f"{error.on.rpartition('/')[2]}: {error.happened}")
        return None


def _heard_after(call: StoredCall, direction: str, said: Sound | None, heard: Sound | None) -> float:
    """Position in the heard audio, s, of the reference's first sample: as recorded, otherwise estimated."""
    listening = call.record.listening.get(direction)
    if listening is not None and listening.reference_at_ms is not None:
        return listening.reference_at_ms / 1e3
    return reference_at_s(*said, *heard) if said is not None and heard is not None else 0.0


def _span(trace: Trace | None, said: Sound | None, heard: Sound | None, after: float) -> float:
    """Seconds from the first word to the end of the last track; at most one second of audio after the end."""
    if said is not None:
        end = len(said[0]) / said[1]
        return max(end, min(end + 1.0, len(heard[0]) / heard[1] - after)) if heard is not None else end
    ends = [len(heard[0]) / heard[1]] if heard is not None else []
    if trace is not None:
        ends.append(float(_spoken_s(trace, trace.timestamp).max()) + 0.02)
    return max(ends, default=1.0)


def _spoken_s(trace: Trace, timestamp: F64 | np.ndarray[tuple[int], np.dtype[np.int64]]) -> F64:
    """Seconds since the first packet's first sample was spoken."""
    return np.asarray((timestamp - trace.timestamp.min()) / trace.clock_rate, dtype=np.float64)


def _wave(sound: Sound, begins_at: float, axis: Axis, name: str, says: str, under: tuple[Series, ...] = ()) -> Plot:
    path = envelope(begins_at, *sound, axis, WAVE_HEIGHT)
    return Plot(says, WAVE_HEIGHT, (*under, Series(f"wave {name}", path)), name=name)


def _concealed(ledger: pd.DataFrame, axis: Axis, after: float, height: int) -> str:
    """Bars over the stretches of heard audio that were concealed."""
    audio_s = ledger["audio_ms"].to_numpy(dtype=np.float64, na_value=np.nan) / 1e3
    begins = audio_s[(ledger["fate"].astype(str) == "concealed").to_numpy()] - after
    begins = begins[np.isfinite(begins)]
    return bars(begins, begins + _step_s(audio_s), axis, height)


def _lanes(ledger: pd.DataFrame, trace: Trace, axis: Axis, after: float) -> list[Plot]:
    """A lane for every fate except being played."""
    made = []
    fate = ledger["fate"].astype(str).to_numpy()
    timestamp = ledger["timestamp"].to_numpy(dtype=np.int64, na_value=UNKNOWN)
    for word, name, meaning in LANES:
        rows = fate == word
        if word == "discarded" and not rows.any():
            continue
        if word == "concealed":
            path = _concealed(ledger, axis, after, LANE_HEIGHT)
        else:
            begins = _spoken_s(trace, timestamp[rows])
            path = bars(begins, begins + _step_s(timestamp / trace.clock_rate), axis, LANE_HEIGHT)
        says = f"{int(rows.sum())} frames {name}: {meaning}"
        made.append(Plot(says, LANE_HEIGHT, (Series(f"lane {word}", path),), name=name))
    return made


def _step_s(times_s: F64) -> float:
    """The typical step between times: the length of a codec frame; 20 ms if there is only one."""
    step = np.diff(np.unique(times_s[np.isfinite(times_s)]))
    return float(np.median(step)) if len(step) else 0.02


def _packets(trace: Trace, ledger: pd.DataFrame | None, axis: Axis) -> list[Plot]:
    """Delay of each packet (with its playing deadline), and jitter, over time."""
    spoken = _spoken_s(trace, trace.timestamp)
    arrived = trace.arrived
    plots = []
    if len(delays_if_known_ms(trace)):
        plots.append(_delay(trace, ledger, spoken, axis))
    jitter = jitter_ms(trace)
    if len(jitter):
        x, y = thin(spoken[arrived], jitter)
        y_axis = Axis(0.0, max(5.0, float(y.max()) * 1.08))
        mean, most = number_text(float(jitter.mean()), 1), number_text(float(jitter.max()), 1)
        says = f"Interarrival jitter, RFC 3550: mean {mean} ms, most {most} ms"
        series = Series("jitter", line(x, y, axis, y_axis, JITTER_HEIGHT))
        ticks = y_ticks(y_axis, JITTER_HEIGHT, 2)
        plots.append(Plot(says, JITTER_HEIGHT, (series,), y_ticks=ticks, heading="jitter, ms"))
    return plots


def _delay(trace: Trace, ledger: pd.DataFrame | None, spoken: F64, axis: Axis) -> Plot:
    known = trace.arrived & (trace.sent_ns != UNKNOWN)
    delay = np.where(known, (trace.arrived_ns - trace.sent_ns) / 1e6, np.nan)
    late = np.zeros(len(trace), dtype=bool)
    deadline_x, deadline = np.zeros(0), np.zeros(0)
    if ledger is not None:
        packet = ledger["packet"].to_numpy(dtype=np.int64)
        is_late = (ledger["fate"].astype(str).to_numpy() == "late") & (packet >= 0)
        late[packet[is_late]] = True
        deadline_x, deadline = _deadline(ledger, trace, spoken)
    on_time = known & ~late
    seen = delay[known]
    top = max(float(np.quantile(seen, 0.995)), float(deadline.max()) if len(deadline) else 0.0) * 1.12
    y_axis = Axis(0.0, max(top, 5.0))
    series = [Series("packet", dots(*thin(spoken[on_time], delay[on_time]), axis, y_axis, DELAY_HEIGHT))]
    if len(deadline):
        series.insert(0, Series("deadline", line(*thin(deadline_x, deadline), axis, y_axis, DELAY_HEIGHT)))
    if late.any():
        series.append(Series("packet late", dots(spoken[late], delay[late], axis, y_axis, DELAY_HEIGHT)))
    lost = trace.arrived_ns == LOST
    if lost.any():
        series.append(Series("packet lost", rug(spoken[lost], axis)))
    p50, p95 = (number_text(float(value)) for value in np.quantile(seen, [0.5, 0.95]))
    says = (
        f"One-way delay of {len(seen)} packets: median {p50} ms, 95th percentile {p95} ms;"
        f" {int(late.sum())} late, {int(lost.sum())} lost"
    )
    ticks = y_ticks(y_axis, DELAY_HEIGHT, 4)
    return Plot(says, DELAY_HEIGHT, tuple(series), y_ticks=ticks, heading="one-way delay, ms")


def _deadline(ledger: pd.DataFrame, trace: Trace, spoken: F64) -> tuple[F64, F64]:
    """Each packet's deadline: its first frame's playing time, as a delay since it was sent, ms."""
    frames = ledger[(ledger["packet"] >= 0) & (ledger["part"] == 0) & ledger["due_ns"].notna()]
    packet = frames["packet"].to_numpy(dtype=np.int64)
    due = frames["due_ns"].to_numpy(dtype=np.int64)
    known = trace.sent_ns[packet] != UNKNOWN
    packet, due = packet[known], due[known]
    order = np.argsort(spoken[packet], kind="stable")
    packet, due = packet[order], due[order]
    return spoken[packet], np.asarray((due - trace.sent_ns[packet]) / 1e6)
