"""TCP_NODELAY on another process's connections, from outside."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from earwitness.errors import EarwitnessError
from earwitness.tor.nodelay import set_nodelay

# Connects to the port, opens a UDP socket and a listener beside, and says its TCP_NODELAY each time it is asked.
OTHER = """
import socket, sys
tcp = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
udp, listener = socket.socket(type=socket.SOCK_DGRAM), socket.create_server(("127.0.0.1", 0))
for _ in sys.stdin:
    print(tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), flush=True)
"""


@pytest.fixture
def other() -> Iterator[subprocess.Popen[str]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        argv = [sys.executable, "-c", OTHER, str(server.getsockname()[1])]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            connection, _ = server.accept()
            yield process
            process.kill()
            connection.close()


def ask(process: subprocess.Popen[str]) -> int:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return int(process.stdout.readline())


def test_it_is_set_and_cleared_on_the_connection_alone(other: subprocess.Popen[str]) -> None:
    assert ask(other) == 0
    assert set_nodelay(other.pid, True) == 1  # not the UDP socket, not the listener
    assert ask(other) == 1
    assert set_nodelay(other.pid, True) == 0
    assert set_nodelay(other.pid, False) == 1
    assert ask(other) == 0


def test_process_that_is_gone_is_an_error() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    with pytest.raises(EarwitnessError, match="TCP_NODELAY"):
        set_nodelay(process.pid, True)
