"""Traces that a far phone or a damaged file could hold, and everything that is done with one."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np

from earwitness.arrays import I64
from earwitness.ear.account import least_delay_ms
from earwitness.ear.clock import playing_clock
from earwitness.ear.hear import Heard, hear
from earwitness.ear.span import LEAST_PACKET_NS, QUIET_EACH_NS, QUIET_NS
from earwitness.replay.blame_sounds import Ideal, reassembled, without_concealment
from earwitness.speech.codecs.base import MOST_PACKET_MS, Codec, packet_of, packet_ticks
from earwitness.speech.codecs.registry import codec
from earwitness.trace.bursts import bursts
from earwitness.trace.clock import estimate_clock, on_one_clock
from earwitness.trace.delay import delay_statistics, ipdv_ms, one_way_delay_ms, relative_delay_ms
from earwitness.trace.encoding import Encoding
from earwitness.trace.gaps import excess_gaps_ms, gaps_without_pauses_ms
from earwitness.trace.jitter import as_published, jitter_units
from earwitness.trace.loss import loss
from earwitness.trace.model import LOST, UNKNOWN, Payloads, Trace
from earwitness.trace.pair import pair
from earwitness.trace.table import from_table, to_table
from earwitness.trace.timing import summarise
from earwitness.trace.wireshark import wireshark_figures
from testing.ear.traces import MS, START_NS, packets, voice

CODECS = (
    *("g711u", "g711a", "gsm", "speex", "opus:24000,fec=1", "opus:24000,rate=48000"),
    *("g722", "g726", "g726:24", "g729", "amr", "amr-wb:6.6,octet=1", "codec2", "codec2:1300", "ilbc:20", "l16:11025"),
    "speex-wb",
)
BUFFERS = (
    "fixed:0",
    "fixed:60",
    "fixed:10000",
    "pjmedia",
    "pjmedia:prefetch=60",
    "adaptive",
    "oracle:100",
)
ILBC = Path(__file__).parents[1] / "speech" / "data" / "ilbc-20ms.bin"
CONCEALMENTS = ("silence", "repeat", "wsola", "codec", "fec", "pjmedia")
LEAST, MOST = np.iinfo(np.int64).min, np.iinfo(np.int64).max

Rng = np.random.Generator
Column = Callable[[int, int, Rng], I64]


def _i64(values: object) -> I64:
    return np.asarray(values, dtype=np.int64)


SEQUENCES: dict[str, Column] = {
    "steady": lambda n, _, r: 65_500 + np.arange(n),
    "with holes": lambda n, _, r: np.cumsum(r.integers(1, 5, n)),
    "leaping": lambda n, _, r: np.arange(n) * 2999,
    "near": lambda n, _, r: r.integers(0, 30, n),
    "one": lambda n, _, r: np.full(n, 7),
    "backwards": lambda n, _, r: np.arange(n)[::-1] + 100,
    "wide": lambda n, _, r: r.integers(-(2**48), 2**48, n),
    "limits": lambda n, _, r: r.choice(_i64([LEAST, LEAST + 1, -1, 0, MOST]), n),
}
TIMESTAMPS: dict[str, Column] = {
    "steady": lambda n, step, r: 4_294_960_000 + np.arange(n) * step,
    "pauses": lambda n, step, r: np.cumsum(step * r.choice(_i64([1, 1, 1, 1, 40]), n)),
    "off the grid": lambda n, step, r: np.arange(n) * step + r.integers(0, step, n),
    "leaping": lambda n, _, r: np.arange(n) * 2**31,
    "alternating": lambda n, step, r: np.arange(n) % 2 * 2**25 + np.arange(n) * step,
    "just no restart": lambda n, step, r: np.cumsum(step * r.integers(400, 500, n)),
    "to and fro": lambda n, step, r: step * r.integers(-480, 480, n),
    "one": lambda n, _, r: np.full(n, 160),
    "backwards": lambda n, step, r: (n - np.arange(n)) * step,
    "wide": lambda n, _, r: r.integers(-(2**56), 2**56, n),
    "limits": lambda n, _, r: r.choice(_i64([LEAST, LEAST + 1, -1, 0, MOST]), n),
}
ARRIVALS: dict[str, Column] = {
    "steady": lambda n, _, r: START_NS + np.arange(n) * 20 * MS,
    "jittery": lambda n, _, r: START_NS + np.arange(n) * 20 * MS + r.integers(0, 400 * MS, n),
    "some lost": lambda n, _, r: np.where(r.random(n) < 0.3, LOST, START_NS + np.arange(n) * 20 * MS),
    "at once": lambda n, _, r: np.full(n, START_NS),
    "unsorted": lambda n, _, r: START_NS + r.integers(0, 3_000 * MS, n),
    "one": lambda n, _, r: np.where(np.arange(n) == n // 2, START_NS, LOST),
    "none": lambda n, _, r: np.full(n, LOST),
    "minutes": lambda n, _, r: np.sort(r.integers(0, 590_000 * MS, n)),
    "years": lambda n, _, r: r.integers(-(2**61), 2**61, n),
    "limits": lambda n, _, r: r.choice(_i64([LEAST, LEAST + 1, -1, 0, MOST]), n),
}
SENT: dict[str, Column] = {
    "unknown": lambda n, _, r: np.full(n, UNKNOWN),
    "steady": lambda n, _, r: START_NS - 40 * MS + np.arange(n) * 20 * MS,
    "some": lambda n, _, r: np.where(r.random(n) < 0.5, UNKNOWN, START_NS + np.arange(n)),
    "years": lambda n, _, r: r.integers(-(2**61), 2**61, n),
    "limits": lambda n, _, r: r.choice(_i64([LEAST, LEAST + 1, -1, 0, MOST]), n),
}


@lru_cache(maxsize=32)
def coded(name: str) -> list[bytes]:
    """Packets of a buzz; of iLBC, of speech, since few machines have an encoder."""
    of = codec(name)
    if of.name == "ilbc":
        speech = ILBC.read_bytes()
        return [speech[at : at + 38] for at in range(0, len(speech), 38)]
    return packets(of, voice(0.6, of.sample_rate))


PAYLOADS: dict[str, Callable[[int, str, Rng], list[bytes]]] = {
    "coded": lambda n, name, r: [coded(name)[at % len(coded(name))] for at in range(n)],
    "flipped": lambda n, name, r: [_flipped(coded(name)[at % len(coded(name))], r) for at in range(n)],
    "empty": lambda n, _, r: [b""] * n,
    "random": lambda n, _, r: [r.bytes(int(r.integers(0, 400))) for _ in range(n)],
    "one size": lambda n, _, r: [r.bytes(33) for _ in range(n)],
    "zeros": lambda n, _, r: [bytes(1400)] * n,
    "ones": lambda n, _, r: [b"\xff" * int(r.integers(0, 1400)) for _ in range(n)],
    "odd sizes": lambda n, name, r: [_resized(coded(name)[at % len(coded(name))], r) for at in range(n)],
    "several frames": lambda n, name, r: [_together(name, at, int(r.integers(1, 20))) for at in range(n)],
    "full": lambda n, _, r: [b"\xff" * int(r.integers(60_000, 65_536)) for _ in range(n)],
    "huge": lambda n, _, r: [bytes(int(r.integers(60_000, 65_536))) for _ in range(n)],
}
KEPT = ("all", "nothing", "no column", "some", "beyond", "negative")
TYPES = ("speech", "with noise", "noise", "any", "several")
FORMATS = {
    0: Encoding("PCMU", 8000),
    3: Encoding("GSM", 8000),
    8: Encoding("PCMA", 8000),
    9: Encoding("G722", 8000),
    18: Encoding("G729", 8000),
    96: Encoding("nonesuch", 8000),
    97: Encoding("speex", 8000),
    98: Encoding("speex", 16000),
    101: Encoding("telephone-event", 8000),
    102: Encoding("AMR", 8000, 1, "mode-set=0,7"),
    103: Encoding("AMR-WB", 16000, 1, "octet-align=1"),
    104: Encoding("iLBC", 8000, 1, "mode=20"),
    106: Encoding("G726-24", 8000),
    107: Encoding("AAL2-G726-32", 8000),
    108: Encoding("PCMU", 8000, 2),
    109: Encoding("CODEC2", 8000),
    110: Encoding("L16", 11025),
    111: Encoding("opus", 48000, 2),
    120: Encoding("opus", 48000, 2),
}


def _resized(payload: bytes, rng: Rng) -> bytes:
    return (2 * payload)[: int(rng.integers(0, 2 * len(payload) + 1))]


def _together(name: str, at: int, count: int) -> bytes:
    of, payloads = codec(name), coded(name)
    frames = [frame for i in range(count) for frame in of.split(payloads[(at + i) % len(payloads)])]
    return packet_of(of, frames)


def _flipped(payload: bytes, rng: Rng) -> bytes:
    changed = bytearray(payload)
    for _ in range(int(rng.integers(0, 4))):
        changed[int(rng.integers(0, len(changed)))] ^= 1 << int(rng.integers(0, 8))
    return bytes(changed[: int(rng.integers(0, len(changed) + 1))]) if rng.random() < 0.2 else bytes(changed)


def made(
    kinds: dict[str, str], name: str, count: int, seed: int, clock_rate: int | None = None, one_clock: bool = True
) -> Trace:
    """A trace of `count` packets with columns of these kinds. Raises InputError where it can be none."""
    rng = np.random.default_rng(seed)
    of = codec(name)
    step = packet_ticks(of)
    payloads = PAYLOADS[kinds["payload"]](count, name, rng)
    size = _i64([len(one) for one in payloads])
    packed: Payloads | None = Payloads.of(payloads)
    assert packed is not None
    kept = kinds["kept"]
    if kept == "nothing":
        packed = Payloads(packed.data, packed.start, np.zeros(count, dtype=np.int32))
    elif kept == "some":
        packed = Payloads(packed.data, packed.start, (packed.captured * (rng.random(count) < 0.5)).astype(np.int32))
    elif kept == "beyond":
        packed = Payloads(packed.data, packed.start + 1, packed.captured)
    elif kept == "negative":
        size = -size
    types = np.full(count, of.payload_type, dtype=np.uint8)
    if kinds["types"] == "with noise":
        types[rng.random(count) < 0.4] = 13
    elif kinds["types"] == "noise":
        types[:] = 13
    elif kinds["types"] == "any":
        types = rng.integers(0, 256, count).astype(np.uint8)
    elif kinds["types"] == "several":
        types = np.where(rng.random(count) < 0.5, types, rng.choice(_i64([13, 99, *FORMATS]), count)).astype(np.uint8)
    return Trace(
        sequence=_i64(SEQUENCES[kinds["sequence"]](count, 0, rng)),
        timestamp=_i64(TIMESTAMPS[kinds["timestamp"]](count, step, rng)),
        payload_type=types,
        marker=rng.random(count) < 0.2,
        size=size.astype(np.int32),
        sent_ns=_i64(SENT[kinds["sent"]](count, 0, rng)),
        arrived_ns=_i64(ARRIVALS[kinds["arrival"]](count, 0, rng)),
        clock_rate=of.clock_rate if clock_rate is None else clock_rate,
        sent_clock="lab" if one_clock else "far",
        arrived_clock="lab",
        payloads=None if kept == "no column" else packed,
        formats=FORMATS if kinds["types"] in ("any", "several") else {},
    )


def timed(trace: Trace) -> None:
    """All that is ever reckoned of a trace's times and numbers."""
    found = summarise(trace)
    assert 0 <= found.packets_received <= found.packets_expected
    for series in (relative_delay_ms(trace), ipdv_ms(trace), gaps_without_pauses_ms(trace), excess_gaps_ms(trace)):
        assert len(series) <= len(trace)
        delay_statistics(series)
    jitter_units(trace)
    as_published(trace)
    wireshark_figures(trace)
    loss(trace)
    bursts(trace)
    if trace.one_clock:
        one_way_delay_ms(trace)
    least_delay_ms(trace, 100.0)
    assert len(from_table(to_table(trace))) == len(trace)
    span = int(np.ptp(trace.arrived_ns[trace.arrived])) if bool(np.any(trace.arrived)) else 0
    assert len(playing_clock(trace)) <= (span + QUIET_NS) // (20 * MS) + 2


def clocked(out: Trace, back: Trace) -> None:
    """Two directions on two clocks, put on one."""
    there, here = pair(out, out), pair(back, back)
    on_one_clock(there, estimate_clock(there, here))


def heard_within_bounds(trace: Trace, of: Codec, buffer: str, concealment: str) -> Heard:
    """What is heard, and that it is no more than the packets and the time of their arrivals account for."""
    heard = hear(trace, of, buffer, concealment=concealment, reference=voice(1.0, of.sample_rate))
    came = trace.arrived_ns[trace.arrived]
    span_ns = int(came.max()) - int(came.min())
    frame_ns = heard.played.frames.stream.frame_ns
    packet_frames = heard.played.frames.usual_count
    most_frames = len(trace) * (-(-MOST_PACKET_MS * MS // frame_ns))
    assert span_ns <= QUIET_NS + len(came) * QUIET_EACH_NS
    assert len(heard.played.frames) <= most_frames
    assert len(heard.played) <= (span_ns + 2 * QUIET_NS) // frame_ns
    assert len(heard.audio) == len(heard.played) * heard.played.frames.frame_samples
    unseen = (3000 + span_ns // LEAST_PACKET_NS) * packet_frames
    assert len(heard.ledger) <= most_frames + len(heard.played) + unseen
    shares = heard.shares
    assert all(0.0 <= share <= 1.0 for share in shares.values())
    assert all("\n" not in note for note in heard.notes)
    return heard


def blamed_sounds(heard: Heard, of: Codec) -> None:
    """The sounds that blame scores."""
    said = voice(1.0, of.sample_rate)
    ideal = Ideal(heard, said, 0)
    sent = ideal.with_unknown(ideal.all_sent(), said)
    for sound in (sent, ideal.all_arrived(), ideal.all_played()):
        assert len(sound) == ideal.length
    for one in (heard, without_concealment(heard, said, 0)):
        assert len(reassembled(one, ideal.first, ideal.length)) == ideal.length
