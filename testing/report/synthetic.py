"""A data set such as calls leave behind, made without a network: real speech, codecs and ear, made-up delays.

Run it to look at a report: `python -m testing.report.synthetic DIR` from the repository.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from earwitness.archive.dataset import Dataset
from earwitness.archive.facts import CallParty, Clock, Rendering, SpeechFacts
from earwitness.archive.layout import DIRECTIONS, REFERENCE, heard_file, trace_file
from earwitness.archive.record import CallRecord, write_record
from earwitness.archive.schema import Row
from earwitness.archive.stored import write_ledger
from earwitness.ear.hear import hear
from earwitness.errors import Outcome
from earwitness.path.facts import CircuitFacts, Hop
from earwitness.speech.codecs.base import frames_per_packet, packet_of, packet_ticks
from earwitness.speech.codecs.registry import codec as codec_named
from earwitness.speech.reference import speech
from earwitness.speech.wav import write_wav
from earwitness.trace.jitter import jitter_ms
from earwitness.trace.model import LOST, Payloads, Trace
from earwitness.trace.table import write_trace

START_NS = 1_764_000_000_000_000_000
RELAYS = tuple(
    Hop(nickname=nickname, fingerprint=letter * 40, address=f"10.77.0.{last}", place=place, country=country)
    for nickname, letter, last, place, country in (
        ("guardOslo", "A", 21, "Oslo", "NO"),
        ("middleMadrid", "B", 24, "Madrid", "ES"),
        ("exitChicago", "C", 27, "Chicago", "US"),
    )
)


@dataclass(frozen=True)
class Made:
    """One call to make up."""

    call_id: str
    path: str = "direct"
    hops: int | None = None
    codec: str = "g711u"
    seed: int = 1
    loss: float = 0.0
    seconds: float | None = None
    buffer: str = "fixed:60"


def delays_ms(made: Made, n: int, rng: np.random.Generator) -> np.ndarray:
    """One-way delay per packet: geography; over Tor also bursts held back by Nagle's algorithm and slow episodes."""
    if made.path == "direct":
        return 49.0 + rng.gamma(2.0, 0.15, n)
    base = 118.0 if made.hops == 2 else 176.0
    grid = np.arange(n) * 20.0
    round_trip = 70.0 if made.hops == 2 else 105.0
    held = round_trip - np.mod(grid + rng.uniform(0, 100), round_trip)
    slow = np.interp(np.arange(n), np.sort(rng.integers(0, n, 8)), rng.gamma(1.2, 25.0, 8))
    arrival = np.maximum.accumulate(grid + base + 0.8 * held + slow + rng.gamma(1.5, 1.0, n))
    return np.asarray(arrival - grid)


def add_call(dataset: Dataset, made: Made, place: tuple[str, str] = ("Frankfurt", "New York")) -> None:
    """Make up one call and store it as a live call is stored."""
    coder = codec_named(made.codec)
    said = speech("allison-10s", coder.sample_rate, made.seconds)
    rng = np.random.default_rng(made.seed)
    relays = () if made.path == "direct" else RELAYS[: made.hops] if made.hops != 2 else (RELAYS[0], RELAYS[2])
    started = f"2026-11-22T12:{made.seed % 60:02d}:00.123456789Z"
    with dataset.new_call(made.call_id) as folder:
        write_wav(folder / REFERENCE, said.samples, said.sample_rate)
        rows, listening = [], {}
        for direction in DIRECTIONS:
            trace = speaking(made, said.samples, rng)
            heard = hear(trace, coder, made.buffer)
            write_trace(trace, folder / trace_file(direction))
            write_wav(folder / heard_file(direction), heard.audio, heard.sample_rate)
            write_ledger(folder, direction, heard.ledger)
            delay = (trace.arrived_ns - trace.sent_ns)[trace.arrived] / 1e6
            first = (int(trace.sent_ns[0]) - 20_000_000 - heard.origin_ns) / 1e6
            listening[direction] = Rendering(
                origin_ns=heard.origin_ns,
                reference_at_ms=first + heard.mouth_to_ear_mean_ms,
                buffer=made.buffer,
                concealment=heard.concealment,
                playout_delay_mean_ms=heard.playout_delay_mean_ms,
                shares=heard.shares,
            )
            missing = heard.shares["concealed_ratio"]
            ceiling = {"g711u": 4.42, "opus": 4.31, "gsm": 3.55, "speex": 3.6}[made.codec.split(":")[0]]
            mos = max(1.1, ceiling - 9.0 * missing**0.8)
            verdict = "good" if mos >= 4 else "acceptable" if mos >= 3 else "poor" if mos >= 2 else "bad"
            jitter = jitter_ms(trace)
            late = heard.shares["late_ratio"]
            rows.append(
                Row(
                    call_id=made.call_id,
                    started_at=started,
                    path=made.path,
                    hops=len(relays),
                    circuit=" > ".join(f"{relay.nickname}@{relay.place}" for relay in relays),
                    codec=made.codec,
                    from_place=place[0],
                    to_place=place[1],
                    seed=made.seed,
                    outcome="completed",
                    direction=direction,
                    packets_sent=len(trace),
                    packets_received=len(delay),
                    packets_duplicate=0,
                    packets_reordered=0,
                    loss_ratio=1 - len(delay) / len(trace),
                    late_ratio=late,
                    concealed_ratio=missing,
                    jitter_mean_ms=float(jitter.mean()),
                    jitter_p95_ms=float(np.quantile(jitter, 0.95)),
                    jitter_max_ms=float(jitter.max()),
                    gap_max_ms=float(np.diff(trace.arrived_ns[trace.arrived]).max() / 1e6),
                    owd_min_ms=float(delay.min()),
                    owd_p50_ms=float(np.median(delay)),
                    owd_p95_ms=float(np.quantile(delay, 0.95)),
                    owd_p99_ms=float(np.quantile(delay, 0.99)),
                    owd_error_ms=0.1,
                    mouth_to_ear_ms=heard.mouth_to_ear_mean_ms,
                    playout_buffer=made.buffer,
                    post_dial_delay_ms=2 * float(delay.min()) + 8,
                    path_setup_ms=2.0 if made.path == "direct" else 1400.0,
                    answer_delay_ms=2 * float(delay.min()) + 60,
                    first_media_ms=3 * float(delay.min()) + 80,
                    send_deviation_p99_ms=0.4,
                    rtcp_rtt_ms=2 * float(np.median(delay)),
                    pesq_raw=mos - 0.3,
                    mos_lqo=mos,
                    mos_cqe=max(1.0, mos - heard.mouth_to_ear_mean_ms / 500),
                    r_factor=20 * mos,
                    verdict=verdict,
                    verdict_reason="nothing to complain of"
                    if verdict == "good"
                    else f"{late:.0%} of the packets came too late for a buffer of 60 ms",
                    speech=said.name,
                    instrument_ok=True,
                )
            )
        milestones = {"invite_sent": 0, "ringing": 210, "answered": 262, "first_media_to_callee": 320, "bye": 11_400}
        record = CallRecord(
            call_id=made.call_id,
            started_at=started,
            command=("earwitness", "demo", "--out", "earwitness-data"),
            versions={"earwitness": "0.1.0", "tor": "0.4.9.11", "python": "3.11.7", "kernel": "6.8.0"},
            seed=made.seed,
            clocks={"lab": Clock(kind="monotonic, one offset to Unix time", error_ms=0.1)},
            path=made.path,
            circuit=CircuitFacts(id="17" if relays else "", relays=relays),
            caller=CallParty(place=place[0], host="caller", address="10.77.0.2"),
            callee=CallParty(place=place[1], host="callee", address="10.77.0.3"),
            codec=made.codec,
            speech=SpeechFacts(name=said.name, attribution=said.attribution, seconds=said.seconds, sample_rate=8000),
            outcome=Outcome.COMPLETED,
            milestones={name: START_NS + ms * 1_000_000 for name, ms in milestones.items()},
            milestones_clock="lab",
            listening=listening,
            rows=tuple(rows),
        )
        write_record(folder, record)


def add_failure(dataset: Dataset, call_id: str = "call-failed", detail: str | None = None) -> None:
    """A call whose circuit could not be built."""
    line = (
        detail or "extending the circuit to exitChicago: relay closed the connection (DESTROYED); choose another exit"
    )
    record = CallRecord(
        call_id=call_id,
        started_at="2026-11-22T12:59:00Z",
        path="tor",
        codec="gsm",
        circuit=CircuitFacts(relays=RELAYS),
        caller=CallParty(place="Frankfurt"),
        callee=CallParty(place="New York"),
        outcome=Outcome.CIRCUIT_FAILED,
        outcome_detail=line,
        stage="extending the circuit",
        evidence={"reason": "DESTROYED", "remote": "CONNECTREFUSED"},
    )
    dataset.add_failed(record)


def demo(directory: Path) -> Dataset:
    """The six calls of the demonstration, and one that failed."""
    with Dataset.open_or_create(directory, durable=False) as dataset:
        number = 0
        for path, hops in (("direct", None), ("tor", 3), ("tor", 2)):
            for codec in ("g711u", "opus:24000"):
                number += 1
                loss = 0.004 if path == "direct" and codec == "g711u" else 0.0
                add_call(dataset, Made(f"call-{number}", path, hops, codec, seed=number, loss=loss))
        add_failure(dataset)
    return dataset


def speaking(made: Made, samples: np.ndarray, rng: np.random.Generator) -> Trace:
    """One direction of the call: speech at the codec's rate, encoded, sent and delayed."""
    coder = codec_named(made.codec)
    encoder = coder.encoder()
    each, size = frames_per_packet(coder), coder.frame_samples
    frames = [encoder.encode(samples[i : i + size]) for i in range(0, len(samples) - size + 1, size)]
    n = len(frames) // each
    payloads = [packet_of(coder, frames[i * each : (i + 1) * each]) for i in range(n)]
    period_ns = round(coder.packet_ms * 1_000_000)
    sent = START_NS + (np.arange(n, dtype=np.int64) + 1) * period_ns + rng.integers(0, 300_000, n)
    arrived = sent + (delays_ms(made, n, rng) * 1e6).astype(np.int64)
    arrived[rng.random(n) < made.loss] = LOST
    marker = np.zeros(n, dtype=np.bool_)
    marker[0] = True
    trace = Trace(
        sequence=np.arange(n, dtype=np.int64) + 1000,
        timestamp=np.arange(n, dtype=np.int64) * packet_ticks(coder) + 5000,
        payload_type=np.full(n, coder.payload_type, dtype=np.uint8),
        marker=marker,
        size=np.array([len(payload) for payload in payloads], dtype=np.int32),
        sent_ns=sent,
        arrived_ns=sent,
        clock_rate=coder.clock_rate,
        sent_clock="lab",
        arrived_clock="lab",
        payloads=Payloads.of(payloads),
    )
    return trace.with_arrivals(arrived)


if __name__ == "__main__":
    demo(Path(sys.argv[1]))
