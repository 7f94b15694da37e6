"""Sockets and processes in the network from which the sandbox was started.

A helper of the sandbox's init, which stays in the original network namespace, serves requests on a unix socket in the
sandbox's state directory (a path works across network namespaces). A socket keeps the namespace it was created in, so
most callers only need `open_socket`: bind or connect it as usual. This works without root, where entering the original
namespace from inside is not permitted. Processes started with `spawn` are in the sandbox's process namespace and end
with it.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from earwitness.errors import EarwitnessError

_SOCKET_NAME = "outside.sock"
_LARGEST_REQUEST = 65_536
_STREAMS = 3


def open_socket(state_dir: Path, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM) -> socket.socket:
    """A new, unbound socket in the original network.

    Raises:
        EarwitnessError: the helper is gone, or the kernel refused.
    """
    answer, descriptors = _ask(state_dir, {"socket": [int(family), int(kind)]}, [])
    if not descriptors:
        raise _refused("opening a socket in", answer)
    return socket.socket(fileno=descriptors[0])


def spawn(state_dir: Path, argv: Sequence[str], stdin: int = 0, stdout: int = 1, stderr: int = 2) -> int:
    """Start a process in the original network, with this environment and working directory and the given streams.

    Returns:
        Its process id (not a child of the caller: watch it with `os.pidfd_open`).

    Raises:
        EarwitnessError: it did not start.
    """
    request = {"argv": list(argv), "environment": dict(os.environ), "directory": str(Path.cwd())}
    answer, _ = _ask(state_dir, request, [stdin, stdout, stderr])
    if "pid" not in answer:
        raise _refused("starting a process in", answer)
    return int(str(answer["pid"]))


def start_server(state_dir: Path) -> None:
    """Fork the helper; it serves requests until the sandbox ends."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(state_dir / _SOCKET_NAME))
    listener.listen(8)
    if os.fork() == 0:
        try:
            # Do not keep init's descriptors open: closing its report pipe is a message.
            os.closerange(3, listener.fileno())
            os.closerange(listener.fileno() + 1, os.sysconf("SC_OPEN_MAX"))
            _serve(listener)
        finally:
            os._exit(1)
    listener.close()


def _serve(listener: socket.socket) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for spawned processes; the kernel reaps them
    signal.pthread_sigmask(signal.SIG_SETMASK, [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
    while True:
        connection, _ = listener.accept()
        with connection:
            text, descriptors, _, _ = socket.recv_fds(connection, _LARGEST_REQUEST, _STREAMS)
            try:
                answer, passed = _answer(json.loads(text), descriptors)
            except (OSError, ValueError, KeyError) as error:
                answer, passed = {"error": str(error)}, []
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)
            socket.send_fds(connection, [json.dumps(answer).encode()], [item.fileno() for item in passed])
            for item in passed:
                item.close()


def _answer(request: dict[str, Any], streams: list[int]) -> tuple[dict[str, Any], list[socket.socket]]:
    if "socket" in request:
        family, kind = request["socket"]
        return {}, [socket.socket(family, kind)]
    process = subprocess.Popen(
        request["argv"],
        env=request["environment"],
        cwd=str(request["directory"]),
        stdin=streams[0],
        stdout=streams[1],
        stderr=streams[2],
        preexec_fn=_restore_signals,
    )
    return {"pid": process.pid}, []


def _restore_signals() -> None:
    """Undo this process's signal settings in spawned ones, which may wait for children of their own."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _ask(state_dir: Path, request: dict[str, Any], streams: list[int]) -> tuple[dict[str, Any], list[int]]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        try:
            connection.connect(str(state_dir / _SOCKET_NAME))
            socket.send_fds(connection, [json.dumps(request).encode()], streams)
            text, descriptors, _, _ = socket.recv_fds(connection, _LARGEST_REQUEST, 1)
        except OSError as error:
            raise _refused("reaching", {"error": error}) from error
    answer: dict[str, Any] = json.loads(text or b"{}")
    return answer, descriptors


def _refused(tried: str, answer: dict[str, Any]) -> EarwitnessError:
    return EarwitnessError(
        tried, "the original network", answer.get("error", "no answer"), "run inside the sandbox; see earwitness.lab"
    )
