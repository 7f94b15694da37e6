"""A tunnel described on the command line, and its files in the user's directory."""

from __future__ import annotations

import ipaddress
import secrets
from datetime import timedelta
from pathlib import Path

from earwitness.errors import InputError
from earwitness.path.vpn_config import Security, Tunnel
from earwitness.path.vpn_files import write_files


def tunnel_by_hand(server: str, port: int, security: str, socks: str | None, *, nodelay: bool) -> Tunnel:
    """The tunnel that these options describe. Raises `InputError` for an invalid option."""
    if security not in set(Security):
        raise InputError("securing a tunnel with", security, "unknown value", f"choose one of {', '.join(Security)}")
    try:
        ipaddress.IPv4Address(server)
    except ValueError as error:
        raise InputError("reading the server's address", server, error, "give an IPv4 address") from error
    proxy = None
    if socks is not None:
        host, _, number = socks.rpartition(":")
        if not host or any(character.isspace() for character in host) or not _is_port(number):
            raise InputError("reading the SOCKS proxy", socks, "not HOST:PORT", "give one such as 127.0.0.1:9050")
        proxy = (host, int(number))
    return Tunnel(server=server, port=port, security=Security(security), nodelay=nodelay, socks=proxy)


def _is_port(text: str) -> bool:
    return text.isdecimal() and 0 < int(text) < 65536


def write_by_hand(folder: Path, tunnel: Tunnel, days: int) -> list[Path]:
    """Write both ends' files and new keys into a new folder; returns the paths written.

    Raises `InputError` if the folder already has such files, or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # A separate user name keeps this tunnel on a separate circuit (tor's IsolateSOCKSAuth).
        username = f"tunnel-{secrets.token_hex(4)}"
        return write_files(folder, tunnel, username=username, password="tunnel", valid=timedelta(days=days))
    except OSError as error:
        raise InputError("writing the tunnel's files into", folder, error, "give a new directory") from error
