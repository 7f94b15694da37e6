"""Two ends without rights over the machine's network: each in a sandbox, sockets to one another made outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from earwitness.archive.dataset import Dataset
from testing.commands import EARWITNESS, INSIDE

pytestmark = pytest.mark.lab
# A sandbox around the command, as it makes one for itself where its user is not root.


def test_a_call_over_streams_between_two_sandboxes(permitted: None, tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path), "COLUMNS": "200"}
    inside = [*INSIDE, *EARWITNESS]
    log = tmp_path / "answer.log"
    invitation = tmp_path / "invitation.json"
    answer = [*inside, "answer", "--listen", "127.0.0.1:0", "--invitation", str(invitation)]
    with log.open("wb") as errors:
        answering = subprocess.Popen(answer, stderr=errors, env=environment)
    try:
        deadline = time.monotonic() + 30
        while "answering at" not in log.read_text() and time.monotonic() < deadline:
            assert answering.poll() is None, log.read_text()
            time.sleep(0.05)
        port = log.read_text().partition("answering at 127.0.0.1:")[2].split()[0]
        call = [*inside, "call", "--to", f"127.0.0.1:{port}", "--invitation", str(invitation), "--seconds", "4"]
        for path, code in (("direct", 3), ("tcp", 0), ("vpn", 0)):
            argv = [*call, "--path", path, "--out", str(tmp_path / path), "--json"]
            done = subprocess.run(argv, capture_output=True, text=True, env=environment, timeout=90, check=False)
            assert done.returncode == code, done.stderr
            if path == "direct":
                assert "without root" in done.stderr
                continue
            rows = [json.loads(line) for line in done.stdout.splitlines()]
            assert [row["packets_received"] for row in rows] == [200, 200]
            assert next(iter(Dataset.open(tmp_path / path).calls())).has("callee.pcap")
    finally:
        answering.send_signal(signal.SIGTERM)
        assert answering.wait(20) == 0
