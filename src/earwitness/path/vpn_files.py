"""A tunnel's files on disk: configuration, and keys readable only by their owner, in folders removed with the tunnel.

Both ends' keys are made at the callee's end. The client's keys are handed over in memory, or through the control
channel if the callee is another machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from earwitness.netns.scratch import scratch_folder
from earwitness.path.vpn_config import (
    SOCKS_AUTH,
    Tunnel,
    client_config,
    files_of,
    key_files,
    server_config,
)

CLIENT, SERVER = "client.ovpn", "server.ovpn"
_KEYS_HOLD = timedelta(days=1)
_SECRET, _PUBLIC = 0o600, 0o644


@dataclass(frozen=True)
class TunnelOffer:
    """A tunnel that the callee's end offers: how the caller reaches it, and the caller's keys."""

    tunnel: Tunnel
    """The tunnel; its `server` and `port` are those that the caller connects to."""
    config: str
    """The callee's configuration file; it contains no secrets."""
    keys: Mapping[str, bytes] = field(default_factory=dict, repr=False)


@contextmanager
def server_files(scratch: Path | None, tunnel: Tunnel) -> Iterator[tuple[Path, TunnelOffer]]:
    """A folder below `scratch` with the callee's files and new keys; removed on leaving at the latest.

    Raises `OSError`.
    """
    contents = key_files(tunnel.security, datetime.now(UTC), _KEYS_HOLD)
    own = {name: contents[name] for name in files_of("server", tunnel.security, socks=False)}
    keys = {name: contents[name][0] for name in files_of("client", tunnel.security, socks=False)}
    with _folder(scratch) as folder:
        config = server_config(tunnel)
        _write(folder, {SERVER: (config.encode(), _PUBLIC), **own})
        yield folder, TunnelOffer(tunnel, config, keys)


@contextmanager
def client_files(
    scratch: Path, tunnel: Tunnel, keys: Mapping[str, bytes], username: str, password: str
) -> Iterator[Path]:
    """A folder below `scratch` with the caller's files; removed on leaving at the latest. Raises `OSError`.

    `username` and `password` are for the SOCKS proxy, if the tunnel has one.
    """
    contents = {CLIENT: (client_config(tunnel).encode(), _PUBLIC)}
    contents |= {name: (keys[name], _SECRET) for name in files_of("client", tunnel.security, socks=False)}
    with _folder(scratch) as folder:
        _write(folder, contents | _socks_auth(tunnel, username, password))
        yield folder


def write_files(folder: Path, tunnel: Tunnel, *, username: str, password: str, valid: timedelta) -> list[Path]:
    """Write both ends' configuration and new keys; secrets have mode 0600 from creation.

    Raises `OSError`, also if one of the files already exists.
    """
    contents = {name: (text.encode(), _PUBLIC) for name, text in configs(tunnel).items()}
    contents |= key_files(tunnel.security, datetime.now(UTC), valid)
    return _write(folder, contents | _socks_auth(tunnel, username, password))


def configs(tunnel: Tunnel) -> dict[str, str]:
    """Both configuration files, by name."""
    return {CLIENT: client_config(tunnel), SERVER: server_config(tunnel)}


def _socks_auth(tunnel: Tunnel, username: str, password: str) -> dict[str, tuple[bytes, int]]:
    return {SOCKS_AUTH: (f"{username}\n{password}\n".encode(), _SECRET)} if tunnel.socks is not None else {}


@contextmanager
def _folder(scratch: Path | None) -> Iterator[Path]:
    """A private folder, mode 0700, that does not survive a kill with the keys in it."""
    if scratch is not None:
        scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
    with scratch_folder("vpn-", scratch) as folder:
        yield folder


def _write(folder: Path, contents: Mapping[str, tuple[bytes, int]]) -> list[Path]:
    written = []
    for name, (content, mode) in contents.items():
        path = folder / name
        path.touch(mode=mode, exist_ok=False)
        path.write_bytes(content)
        written.append(path)
    return written
