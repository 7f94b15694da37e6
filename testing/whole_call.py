"""A call in two files, for those who run commands: what was said, and the capture of it at the callee."""

from __future__ import annotations

import struct
from pathlib import Path

from earwitness.speech.codecs.base import encode_packets
from earwitness.speech.codecs.registry import codec
from earwitness.speech.reference import speech
from earwitness.speech.wav import write_wav
from testing.trace.making import Datagram, pcap


def make_call(folder: Path) -> None:
    """call.pcap: ten seconds of speech in G.711, a packet each 20 ms, the 101st lost; said.wav: what was said."""
    said = speech("carlo-10s").samples
    write_wav(folder / "said.wav", said, 8000)
    packets = []
    for number, payload in enumerate(encode_packets(codec("g711u"), said)):
        header = struct.pack(">BBHII", 0x80, 0x80 * (number == 0), number, 160 * number, 7)
        packets.append(Datagram(10**18 + number * 20_000_000, header + payload))
    del packets[100]
    (folder / "call.pcap").write_bytes(pcap(packets))
