"""Captures, recordings and tables of our own making, in the published layout and with its quirks."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from earwitness.published.calls_csv import COLUMNS
from earwitness.speech.reference import speech
from earwitness.speech.wav import write_wav

CALLER, SERVER = "10.8.0.2", "10.8.0.1"
SNAP = 85


def address(text: str) -> bytes:
    return bytes(int(part) for part in text.split("."))


def udp(source: str, destination: str, payload: bytes, source_port: int = 4000, destination_port: int = 4000) -> bytes:
    body = struct.pack(">HHHH", source_port, destination_port, 8 + len(payload), 0) + payload
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, 17, 0) + address(source) + address(destination)
    return head + body


def rtp(sequence: int, timestamp: int, payload_type: int, ssrc: int, size: int, marker: bool = False) -> bytes:
    return struct.pack(
        ">BBHII", 0x80, payload_type | marker << 7, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc
    ) + bytes(size)


def pcap(packets: list[tuple[float, bytes]]) -> bytes:
    """A classic pcap of raw IP (link type 101), microseconds, snap length 85, of (time s, packet)."""
    out = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, SNAP, 101)
    for when, packet in packets:
        microseconds = round(when * 1e6)
        kept = packet[:SNAP]
        out += struct.pack("<IIII", microseconds // 10**6, microseconds % 10**6, len(kept), len(packet)) + kept
    return out


def stream(
    source: str,
    destination: str,
    *,
    payload_type: int = 0,
    ssrc: int = 0x1234,
    packets: int = 300,
    size: int = 160,
    ticks: int = 160,
    start: float = 1000.0,
    delays_ms: np.ndarray | None = None,
    first_sequence: int = 65400,
    pause_after: int | None = None,
    pause_s: float = 0.5,
) -> list[tuple[float, bytes]]:
    """RTP each 20 ms, each packet delayed by its own delay; a pause of silence suppression after one of them."""
    delays = np.zeros(packets) if delays_ms is None else delays_ms
    out = []
    silent = 0.0
    for number in range(packets):
        if pause_after is not None and number == pause_after:
            silent = pause_s
        timestamp = 1000 + ticks * number + round(silent * ticks * 50)
        packet = rtp(first_sequence + number, timestamp, payload_type, ssrc, size, marker=number in (0, pause_after))
        out.append((start + 0.02 * number + silent + delays[number] / 1e3, udp(source, destination, packet)))
    return sorted(out, key=lambda item: item[0])


def both_ways(**options: Any) -> bytes:
    """A caller's capture with a stream in each direction."""
    there = stream(CALLER, SERVER, ssrc=0x99, payload_type=options.get("payload_type", 0))
    return pcap(sorted(there + stream(SERVER, CALLER, **options)))


def sound(seconds: float, seed: int = 0) -> np.ndarray:
    """Speech, looped to a length."""
    return np.resize(speech(SPEECH, 8000).samples, round(seconds * 8000))


SPEECH = "allison-10s"


def wav_bytes(samples: np.ndarray, *, declared: int | None = None, list_chunk: bool = False) -> bytes:
    """A WAV file; `declared` bytes in its header instead of the true number; a LIST chunk before the data."""
    data = samples.astype("<i2").tobytes()
    extra = (
        b"LIST" + struct.pack("<I", 26) + b"INFOISFT" + struct.pack("<I", 14) + b"Lavf60.16.100\0"
        if list_chunk
        else b""
    )
    body = b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 16000, 2, 16) + extra
    body += b"data" + struct.pack("<I", len(data) if declared is None else declared) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def end_files(
    root: Path,
    end: str = "caller",
    *,
    status: str = "Tor",
    codec: str = "g711",
    batch: str = "",
    location: str = "1Frank-Lond",
    iteration: int = 0,
    capture: bytes | None = None,
    recording: bytes | None = None,
) -> None:
    """Put an end's files where the study puts them; nothing for what is None."""
    base = root / status / codec / batch / location / end / "data"
    names = {
        "caller": ("pcap_capture_inside", "caller_recording"),
        "callee": ("pcap_callee_inside", "callee_recording"),
    }[end]
    for content, folder, name, suffix in (
        (capture, "test_pcaps", names[0], "pcap"),
        (recording, f"test_{end}_recordings", names[1], "wav"),
    ):
        if content is not None:
            path = base / folder / f"{name}_{iteration}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def reference(root: Path, seconds: float = 8.0) -> Path:
    """The reference speech where the study keeps it."""
    path = root / "02-data-collection-steps" / "caller" / "audio-samples" / "prior-work-jithin-audio.wav"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_wav(path, sound(seconds).astype(np.int16), 8000)
    return path


def table(rows: int = 60, seed: int = 0, **fixed: object) -> pd.DataFrame:
    """A published table with scores and jitter that vary by codec and place."""
    generator = np.random.default_rng(seed)
    codecs = np.array(["g711", "gsm", "opus", "speex"])[generator.integers(0, 4, rows)]
    places = np.array(["1Frank-Lond", "2sydney-frank", "3Bangl-nyc", "4singapore-nyc"])[generator.integers(0, 4, rows)]
    frame = pd.DataFrame(index=range(rows), columns=list(COLUMNS), dtype=float)
    frame["iteration_no"] = np.arange(rows)
    frame["tor_status"] = "Non-tor"
    frame["location"] = places
    frame["codec"] = codecs
    for end in ("caller", "callee"):
        mos = np.select([codecs == "opus", codecs == "gsm"], [4.2, 2.4], 3.3) + generator.normal(0, 0.1, rows)
        frame[f"{end}_pesq_raw"] = np.round(mos - 0.1, 3)
        frame[f"{end}_pesq_mos"] = np.round(mos, 3)
        for name in ("mean", "median", "max", "range", "iqr", "std_dev"):
            frame[f"{end}_jitter_{name}"] = generator.gamma(2.0, 0.2, rows)
    return frame.assign(**cast(Any, fixed))
