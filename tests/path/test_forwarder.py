"""The callee's forwarder as a process, its device a pipe: what strangers and a peer of another mind can do to it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from typing import Any

from earwitness.path.datagram import LONGEST_PAYLOAD
from earwitness.path.framing import frame

TOKEN = "0123456789abcdef"
CONFIG = {"role": "callee", "local": "10.99.1.1", "remote": "10.99.1.2", "token": TOKEN, "listen": "127.0.0.1"}
FLOWS = {"rtp": [4000, 4000], "other": None}


class Forwarder:
    """One that runs; `heard` is everything that it said."""

    def __init__(self, device: int) -> None:
        argv = [sys.executable, "-m", "earwitness.path.forwarder"]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[device])
        self.heard: list[dict[str, Any]] = []
        self.tell({**CONFIG, "flows": FLOWS, "tun": device})

    def tell(self, line: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(line).encode() + b"\n")
        self.process.stdin.flush()

    def until(self, event: str) -> dict[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.heard.append(json.loads(line))
            if self.heard[-1]["event"] == event:
                return self.heard[-1]
        raise AssertionError(f"it ended without {event}: {self.heard}")


def test_a_callee_s_forwarder_connects_to_nobody_and_outlives_strangers_and_oversized_frames() -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    forwarder = Forwarder(reading)
    try:
        port = forwarder.until("listening")["port"]
        for nonsense in (b"[" * 1000, b"[" * 60_000, json.dumps({"token": TOKEN, "flow": ["rtp"]}).encode()):
            with socket.create_connection(("127.0.0.1", port)) as stranger:
                stranger.sendall(frame(nonsense))
                forwarder.until("stranger")
                assert stranger.recv(1) == b""
        greeting = json.dumps({"earwitness": 1, "token": TOKEN, "flow": "rtp"}).encode()
        with socket.create_connection(("127.0.0.1", port)) as ours, socket.create_server(("127.0.0.1", 0)) as target:
            ours.sendall(frame(greeting) + frame(bytes(LONGEST_PAYLOAD + 1)) + frame(b"one of ours"))
            forwarder.until("accepted")
            forwarder.tell({"command": "open", "target": list(target.getsockname())})
            ours.shutdown(socket.SHUT_WR)
            forwarder.until("closed")
            forwarder.tell({"command": "stop"})
            assert forwarder.process.wait(20) == 0
            target.setblocking(False)
            try:
                target.accept()
                raise AssertionError("it connected to where the peer wished")
            except BlockingIOError:
                pass
        while forwarder.until("statistics")["flows"]["rtp"]["received"] < 2:
            pass
        statistics = forwarder.heard[-1]
        assert statistics["strangers"] == 3
        assert statistics["ignored"]["too long"] == 1
    finally:
        forwarder.process.kill()
        forwarder.process.wait()
        for descriptor in (reading, writing):
            os.close(descriptor)
