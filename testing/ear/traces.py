"""Traces written as patterns: speech coded by a real codec, and when its packets arrive."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from earwitness.ear.decoding import StreamDecoder
from earwitness.ear.frames import frames_of
from earwitness.ear.payload import frame_bytes
from earwitness.speech.codecs.base import Codec, Encoder, encode_packets, packet_of, packet_samples, packet_ticks
from earwitness.speech.codecs.registry import at_ptime
from earwitness.trace.encoding import Encoding
from earwitness.trace.model import LOST, Payloads, Trace

MS = 1_000_000
START_NS = 5_000_000_000


def voice(seconds: float = 2.0, rate: int = 8000) -> NDArray[np.int16]:
    """A buzz with a moving pitch and loudness, which every codec takes for speech."""
    t = np.arange(round(seconds * rate)) / rate
    pitch = 120 + 30 * np.sin(2 * np.pi * 1.3 * t)
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    buzz = sum(np.sin(k * phase) / k for k in range(1, 12))
    return np.asarray(6000 * buzz * (0.6 + 0.4 * np.sin(2 * np.pi * 2.1 * t)), dtype=np.int16)


def packets(codec: Codec, samples: NDArray[np.int16]) -> list[bytes]:
    """The codec's packets of these samples."""
    return encode_packets(codec, samples)


def trace_of(
    codec: Codec,
    samples: NDArray[np.int16],
    *,
    delay_ms: float | Sequence[float] | NDArray[np.float64] = 30.0,
    lost: Collection[int] = (),
    pauses: Sequence[tuple[int, int]] = (),
    first_sequence: int = 65_500,
    first_timestamp: int = 4_294_960_000,
) -> Trace:
    """Packets of `samples`, one every ptime; `delay_ms` each; `lost` never arrive; packets in `pauses` are not sent."""
    payloads = packets(codec, samples)
    sent_index = [i for i in range(len(payloads)) if not any(a <= i < b for a, b in pauses)]
    n = len(sent_index)
    step = packet_ticks(codec)
    sent_ns = START_NS + np.array(sent_index, dtype=np.int64) * round(codec.packet_ms * MS)
    delay_ns = np.rint(np.broadcast_to(np.asarray(delay_ms, dtype=float), (n,)) * MS).astype(np.int64)
    arrived_ns = sent_ns + delay_ns
    arrived_ns[[sent_index.index(i) for i in lost]] = LOST
    kept = [payloads[i] for i in sent_index]
    trace = Trace(
        sequence=np.arange(n, dtype=np.int64) + first_sequence,
        timestamp=np.array(sent_index, dtype=np.int64) * step + first_timestamp,
        payload_type=np.full(n, codec.payload_type, dtype=np.uint8),
        marker=np.zeros(n, dtype=np.bool_),
        size=np.array([len(p) for p in kept], dtype=np.int32),
        sent_ns=sent_ns,
        arrived_ns=sent_ns.copy(),
        clock_rate=codec.clock_rate,
        sent_clock="lab",
        arrived_clock="lab",
        payloads=Payloads.of(kept),
    )
    return trace.with_arrivals(arrived_ns)


def trace_at(
    codec: Codec,
    samples: NDArray[np.int16],
    ptimes: Sequence[float],
    *,
    delay_ms: float = 30.0,
    changed: Codec | None = None,
) -> Trace:
    """Packets of `samples` with these packet times in turn, again and again, each sent when its last sample has been
    spoken, `delay_ms` on the way. `changed`: the codec of the second half of the speech."""
    encoders: dict[object, Encoder] = {}
    payloads: list[bytes] = []
    begins, ends, types = [], [], []
    at = 0
    while at < len(samples):
        now = changed if changed is not None and 2 * at >= len(samples) else codec
        of = at_ptime(now, ptimes[len(payloads) % len(ptimes)])
        encode = encoders.setdefault((of.name, of.frame_samples), of.encoder()).encode
        size, frame = packet_samples(of), of.frame_samples
        said = np.zeros(size, dtype=np.int16)
        said[: len(samples[at : at + size])] = samples[at : at + size]
        payloads.append(packet_of(of, [encode(said[i : i + frame]) for i in range(0, size, frame)]))
        begins.append(at)
        types.append(of.payload_type)
        at += size
        ends.append(at)
    n, rate = len(payloads), codec.sample_rate
    sent_ns = START_NS + np.array(ends, dtype=np.int64) * 1_000_000_000 // rate
    return Trace(
        sequence=np.arange(n, dtype=np.int64) + 65_500,
        timestamp=np.array(begins, dtype=np.int64) * codec.clock_rate // rate + 4_294_960_000,
        payload_type=np.array(types, dtype=np.uint8),
        marker=np.zeros(n, dtype=np.bool_),
        size=np.array([len(payload) for payload in payloads], dtype=np.int32),
        sent_ns=sent_ns,
        arrived_ns=sent_ns + round(delay_ms * MS),
        clock_rate=codec.clock_rate,
        sent_clock="lab",
        arrived_clock="lab",
        payloads=Payloads.of(payloads),
        formats={one.payload_type: _encoding(one) for one in (codec, changed or codec)},
    )


def by_clock(trace: Trace, noise_ms: float, *, drift: float = 0.0, seed: int = 3) -> Trace:
    """The packets with timestamps that the sender read from a clock: uneven by up to `noise_ms`, and faster than its
    samples by `drift`."""
    since = (trace.timestamp - trace.timestamp.min()) * drift
    noise = np.random.default_rng(seed).uniform(-noise_ms, noise_ms, len(trace)) * trace.clock_rate / 1000
    return replace(trace, timestamp=trace.timestamp + np.rint(since + noise).astype(np.int64))


def _encoding(codec: Codec) -> Encoding:
    return Encoding(codec.encoding_name, codec.clock_rate, codec.channels)


def decoder_of(trace: Trace, codec: Codec) -> StreamDecoder:
    """A decoder of the trace's frames."""
    frames = frames_of(trace, codec)
    return StreamDecoder(frames, frame_bytes(trace, frames))
