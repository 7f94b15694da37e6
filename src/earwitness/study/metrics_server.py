"""Serves `/metrics` over HTTP to a few scrapers, with limits on connections, time and request size.

Anyone who can reach the port may scrape. No client can block others or use much memory: when there are too many
connections, the oldest is closed, which is either finished or idle.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app

MOST_CLIENTS = 16
LONGEST_S = 10.0
"""Longest connection: a scrape takes milliseconds, and Prometheus itself gives up after 10 s."""
LONGEST_REQUEST = 16 * 1024
"""Maximum bytes of a request, headers included."""


@contextmanager
def served(registry: CollectorRegistry, listener: socket.socket) -> Iterator[tuple[str, int]]:
    """Serve a registry on a bound TCP socket while the block runs; yields its address."""
    listener.listen(MOST_CLIENTS)
    server = _Server(listener.getsockname()[:2], _Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = listener
    server.setup_environ()
    server.set_app(make_wsgi_app(registry))
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    try:
        host, port = listener.getsockname()[:2]
        yield str(host), int(port)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    block_on_close = False
    server_name = "earwitness"
    server_port = 0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._since: dict[socket.socket, float] = {}
        """Open connections with start (CLOCK_MONOTONIC), oldest first; closed ones stay until their threads end."""
        self._cut: set[socket.socket] = set()
        self._lock = threading.Lock()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve the connection in its own thread; if there are too many, close the oldest."""
        with self._lock:
            if len(self._since) >= 2 * MOST_CLIENTS:  # threads of closed connections have not ended yet
                self.shutdown_request(request)
                return
            alive = [one for one in self._since if one not in self._cut]
            if len(alive) >= MOST_CLIENTS:
                self._end(alive[0])
            self._since[request] = time.monotonic()
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """As in the base class; the connection no longer counts."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._since.pop(request, None)
                self._cut.discard(request)

    def service_actions(self) -> None:
        """Called twice a second: close connections that last too long, even if bytes still trickle in."""
        with self._lock:
            for request, since in self._since.items():
                if time.monotonic() - since > LONGEST_S and request not in self._cut:
                    self._end(request)

    def handle_error(self, _request: Any, _client_address: Any) -> None:
        """Ignore clients that disconnect early or are closed."""

    def _end(self, request: socket.socket) -> None:
        self._cut.add(request)
        with contextlib.suppress(OSError):
            request.shutdown(socket.SHUT_RDWR)


class _Handler(WSGIRequestHandler):
    timeout = LONGEST_S
    """Seconds to wait for an idle client."""

    def setup(self) -> None:
        """Limit how much of a request is read."""
        super().setup()
        self.rfile: Any = _Beginning(self.rfile)

    def log_message(self, *_said: Any) -> None:
        """Do not log scrapes."""


class _Beginning:
    """A stream that ends after `LONGEST_REQUEST` bytes."""

    def __init__(self, stream: BufferedIOBase) -> None:
        self._stream, self._left = stream, LONGEST_REQUEST
        self.close = stream.close

    def readline(self, most: int = -1) -> bytes:
        """As in the base class."""
        line = self._stream.readline(min(most, self._left) if most >= 0 else self._left)
        self._left -= len(line)
        return line
