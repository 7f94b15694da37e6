"""`tshark -z rtp,streams` as the reference, given the clocks that it cannot know."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from pathlib import Path

from earwitness.trace.capture import Capture
from earwitness.trace.wireshark import WiresharkFigures

TSHARK = shutil.which("tshark")
_LINE = re.compile(r"^\s*[\d.]+\s+[\d.]+\s+(?P<source>\S+)\s+(?P<port>\d+)\s+\S+\s+\d+\s+(?P<ssrc>0x[0-9A-Fa-f]+)\s")


def with_sdp(capture: Capture, data: bytes) -> bytes:
    """A raw-IP pcap with an INVITE put before its packets for each dynamic payload type, naming codec and clock.

    tshark knows no clock of a dynamic payload type but from SDP, which the study's snap length cut off.
    """
    added = b""
    for number, stream in enumerate(capture.streams):
        if stream.payload_type < 96:
            continue
        flow, encoding = stream.flow, stream.encoding
        body = (
            f"v=0\r\no=- 1 1 IN IP4 {flow.destination}\r\ns=-\r\nc=IN IP4 {flow.destination}\r\nt=0 0\r\n"
            f"m=audio {flow.destination_port} RTP/AVP {stream.payload_type}\r\n"
            f"a=rtpmap:{stream.payload_type} {encoding.name}/{encoding.clock_rate}\r\n"
        )
        message = (
            f"INVITE sip:a@{flow.source} SIP/2.0\r\nVia: SIP/2.0/UDP {flow.destination}:5060;branch=z9hG4bK{number}\r\n"
            f"From: <sip:b@{flow.destination}>;tag=1\r\nTo: <sip:a@{flow.source}>\r\nCall-ID: {number}\r\n"
            f"CSeq: 1 INVITE\r\nContent-Type: application/sdp\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        ).encode()
        ends = b"".join(bytes(map(int, end.split("."))) for end in (flow.destination, flow.source))
        udp = struct.pack(">HHHH", 5060, 5060, 8 + len(message), 0) + message
        packet = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0) + ends + udp
        added += data[24:32] + struct.pack("<II", len(packet), len(packet)) + packet
    return data[:16] + struct.pack("<I", 262_144) + data[20:24] + added + data[24:]


def printed(figures: WiresharkFigures) -> list[str]:
    """Our figures as tshark prints them."""
    numbers = (
        figures.min_delta_ms,
        figures.mean_delta_ms,
        figures.max_delta_ms,
        figures.min_jitter_ms,
        figures.mean_jitter_ms,
        figures.max_jitter_ms,
    )
    percent = f"({figures.lost_percent:.1f}%)"
    return [str(figures.packets), str(figures.lost), percent, *(f"{number:.3f}" for number in numbers)]


def streams(path: Path, port: int = 4000) -> dict[tuple[str, int], list[str]]:
    """What tshark prints of each stream: (source, SSRC) to packets, lost, percent, and six times in ms."""
    assert TSHARK is not None
    command = [TSHARK, "-r", str(path), "-d", f"udp.port=={port},rtp", "-q", "-z", "rtp,streams"]
    text = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    found = {}
    for line in text.splitlines():
        match = _LINE.match(line)
        if match:
            words = [word for word in line.split() if word != "X"]
            found[match["source"], int(match["ssrc"], 16)] = words[-9:]
    return found
