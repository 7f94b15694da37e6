"""Nested parts of a record: clocks, parties, speech, rendering, and the instrument's self-check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from earwitness.facts import LABEL, MS_RANGE, fact


@dataclass(frozen=True, kw_only=True)
class Clock:
    """A clock of times in this record and its traces."""

    kind: str = fact("Kind of clock: CLOCK_REALTIME kernel timestamps, CLOCK_MONOTONIC ...")
    host: str = fact("Machine that it runs on", default="")
    error_ms: float | None = fact(
        "Bound on its error relative to the call's other clocks; null: unknown", MS_RANGE, default=None
    )
    offset_ns: int | None = fact(
        "On another machine: estimated lead over the caller's clock in mid-call; times here are corrected for it,"
        " captures are not",
        default=None,
    )
    skew_ppm: float | None = fact(
        "On another machine: parts per million by which it runs fast", (-1e6, 1e6), default=None
    )
    symmetric_error_ms: float | None = fact(
        "On another machine: bound on the error if the minimum delays of both directions are equal, in ms",
        MS_RANGE,
        default=None,
    )


@dataclass(frozen=True, kw_only=True)
class CallParty:
    """The caller or the callee."""

    place: str = fact("City", longest=LABEL, default="")
    host: str = fact("Host in the lab, or name of the machine", default="")
    address: str = fact("IP address that its phone uses on the path", default="")


@dataclass(frozen=True, kw_only=True)
class SpeechFacts:
    """The reference speech."""

    name: str = fact("Name of the shipped speech, or of the given file", default="")
    attribution: str = fact("Speaker and licence", default="")
    seconds: float | None = fact("Duration in seconds", (0.0, 1e9), default=None)
    sample_rate: int | None = fact("Sample rate in Hz", (1, 1e9), default=None)


@dataclass(frozen=True, kw_only=True)
class Rendering:
    """How the audio of one direction was rendered, so that audio, packets and reference can be aligned."""

    origin_ns: int = fact("Time of sample 0 of the heard audio, on the arrival clock of the trace")
    reference_at_ms: float | None = fact(
        "Position of the first sample of the reference in the heard audio", MS_RANGE, default=None
    )
    buffer: str = fact("Jitter buffer", default="")
    concealment: str = fact("Concealment method for missing frames", default="")
    playout_delay_mean_ms: float | None = fact("Mean time that a frame waited in the buffer", MS_RANGE, default=None)
    shares: Mapping[str, float] = fact("Share of playing time by fate (played, concealed ...)", default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SelfCheck:
    """Results of the self-check during the call; null: unknown, or not applicable to this call."""

    emulator_late_p99_ms: float | None = fact(
        "99th percentile of the lateness of packets leaving the emulator", MS_RANGE, default=None
    )
    emulator_late_max_ms: float | None = fact("Maximum of the same lateness", MS_RANGE, default=None)
    cpu_wait_mean_ms: float | None = fact(
        "Time that a packet waited for a processor, all processes of the path together; mean over the call",
        MS_RANGE,
        default=None,
    )
    cpu_wait_worst_ms: float | None = fact("The same, in the worst twentieth of the call", MS_RANGE, default=None)
    processes: tuple[str, ...] = fact("Processes that were observed", default=())
    send_deviation_max_ms: Mapping[str, float | None] = fact(
        "Largest deviation of sending times from the ptime grid, by end", default_factory=dict
    )
