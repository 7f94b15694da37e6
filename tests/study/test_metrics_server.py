"""The metrics' port under clients of every kind: a scraper is always served, and little is held for the others."""

from __future__ import annotations

import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from earwitness.study import metrics_server
from earwitness.study.metrics import Metrics
from earwitness.study.metrics_server import LONGEST_REQUEST, MOST_CLIENTS, served

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def port() -> Iterator[int]:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    with served(Metrics().registry, listener) as (_, number):
        yield number


def scrape(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        text: str = answer.read().decode()
    return text


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_idle_and_slow_connections_keep_nobody_out(port: int) -> None:
    threads, before = threading.active_count(), descriptors()
    with ExitStack() as idle:
        for number in range(200):
            client = idle.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
            if number % 2:
                client.sendall(b"GET /metrics HTTP/1.1\r\nX: ")
            if number % 50 == 0:
                assert "earwitness_build_info" in scrape(port)
        assert "earwitness_build_info" in scrape(port)
        assert threading.active_count() - threads <= 2 * MOST_CLIENTS
        assert descriptors() - before <= 200 + 2 * MOST_CLIENTS + 1
    until = time.monotonic() + 20
    while threading.active_count() > threads and time.monotonic() < until:
        time.sleep(0.01)
    assert threading.active_count() <= threads


def test_a_request_without_end_is_cut(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        sent = 0
        with pytest.raises(OSError):  # noqa: PT011, PT012 - reset or a broken pipe
            while sent < 64 * LONGEST_REQUEST:
                client.sendall(b"GET /metrics HTTP/1.1\r\n" if not sent else b"X: " + b"y" * 1000 + b"\r\n")
                sent += 1000
            client.sendall(b"\r\n")
            while client.recv(65536):
                pass
            raise ConnectionResetError
    assert "earwitness_build_info" in scrape(port)


def test_one_that_drips_is_cut_in_time(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    monkeypatch.setattr(metrics_server, "LONGEST_S", 0.5)
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\nX: ")
        with pytest.raises(OSError):  # noqa: PT011, PT012
            while True:
                client.sendall(b"y")
                time.sleep(0.05)
