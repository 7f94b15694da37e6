"""Small files such as the documents' examples speak of: a capture of real speech, a data set, a study."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from earwitness.archive.dataset import Dataset
from earwitness.ear.hear import hear
from earwitness.speech.codecs.registry import codec
from earwitness.speech.reference import Speech, speech
from earwitness.speech.wav import write_wav
from earwitness.trace.model import Trace
from earwitness.trace.rtp import RtpPacket
from testing.report.synthetic import Made, add_call, add_failure, speaking
from testing.trace.making import Datagram, pcap, together

CALLER, CALLEE = ("192.0.2.1", 4000), ("192.0.2.2", 4002)
STUDY = """\
version = 1
name = "sample"
[[path]]
name = "direct"
path = "direct"
[[path]]
name = "tcp"
path = "tcp"
[axes]
codec = ["g711u"]
places = [["Frankfurt", "London"]]
[design]
repeats = 1
[call]
seconds = 4.0
"""


def spoken(made: Made, said: Speech) -> Trace:
    """One direction of a call: speech, encoded, and delayed as over that path."""
    return speaking(made, said.samples, np.random.default_rng(made.seed))


def datagrams(trace: Trace, source: tuple[str, int], destination: tuple[str, int], ssrc: int) -> list[Datagram]:
    """The packets of a trace that arrived, as a capture at its receiver sees them."""
    assert trace.payloads is not None
    found = []
    for row in np.flatnonzero(trace.arrived).tolist():
        packet = RtpPacket(
            payload_type=int(trace.payload_type[row]),
            sequence=int(trace.sequence[row]) & 0xFFFF,
            timestamp=int(trace.timestamp[row]) & 0xFFFFFFFF,
            ssrc=ssrc,
            payload=trace.payloads[row],
            marker=bool(trace.marker[row]),
        )
        found.append(Datagram(int(trace.arrived_ns[row]), bytes(packet), source, destination))
    return sorted(found, key=lambda one: one.time_ns)


def write_call(path: Path, *, seconds: float | None = None, seed: int = 1) -> Trace:
    """A capture at the caller of a call over Tor, G.711 and `allison-10s` both ways; the direction that it heard."""
    said = speech("allison-10s", 8000, seconds)
    heard = spoken(Made("sample", "tor", 2, seed=seed, loss=0.01), said)
    own = spoken(Made("sample", seed=seed + 1), speech("allison-10s", 8000, 8.0))  # the phone rang off a little sooner
    leaving = own.with_arrivals(own.sent_ns)
    both = together(datagrams(heard, CALLEE, CALLER, 0xCA11EE), datagrams(leaving, CALLER, CALLEE, 0xCA11E7))
    path.write_bytes(pcap(both))
    return heard


def write_samples(folder: Path) -> None:
    """call.pcap, said.wav, study.toml, captures/ (pairs of capture and recording), earwitness-data/."""
    said = speech("allison-10s")
    write_wav(folder / "said.wav", said.samples, said.sample_rate)
    write_call(folder / "call.pcap")
    (folder / "study.toml").write_text(STUDY)
    (folder / "captures").mkdir()
    for seed in (1, 2):
        trace = write_call(folder / "captures" / f"call-{seed}.pcap", seed=seed)
        sound = hear(trace, codec("g711u"), "fixed:200")
        write_wav(folder / "captures" / f"call-{seed}.wav", sound.audio, sound.sample_rate)
    with Dataset.open_or_create(folder / "earwitness-data", durable=False) as dataset:
        number = 0
        for seed in (1, 2):
            for path, hops in (("direct", None), ("tor", 2)):
                for spec in ("g711u", "opus:24000"):
                    number += 1
                    add_call(dataset, Made(f"call-{number}", path, hops, spec, seed=seed, seconds=6.0))
        add_failure(dataset)
