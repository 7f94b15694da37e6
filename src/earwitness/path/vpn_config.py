"""The configuration files of an OpenVPN tunnel, point to point over TCP (openvpn(8)), with and without a SOCKS proxy.

The tunnel through Tor and the direct one differ in one line, `socks-proxy`. Key files are referenced, never inlined.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

DEFAULT_PORT = 1194
SERVER_NAME, CLIENT_NAME = "earwitness-callee", "earwitness-caller"
"""Common names of the two ends' certificates; each end accepts only the other's."""
SOCKS_AUTH = "socks-auth"
"""The file with the SOCKS user name and password, one per line."""
PING_EVERY_S = 1
DEAD_AFTER_S = 10
_CONNECT_TIMEOUT_S = 20


def device_name(number: int) -> str:
    """Name of the TUN device of tunnel `number`, at both ends."""
    return f"ewvpn{number}"


def vpn_callee_address(number: int) -> str:
    """The callee's address in tunnel `number`."""
    return f"10.8.{number}.1"


class Security(StrEnum):
    """Protection of the tunnel's traffic."""

    NONE = "none"
    """No protection, as in the published study: a compatibility mode. OpenVPN 2.6 warns about it."""
    STATIC = "static"
    """A key shared by both ends; deprecated by OpenVPN, to be removed in 2.8."""
    TLS = "tls"
    """TLS, 1.3 if both ends support it, with certificates made for the run."""


@dataclass(frozen=True, kw_only=True)
class Tunnel:
    """One tunnel, as described by both ends' files. Addresses are IPv4."""

    server: str
    """Address at which the callee's end listens."""
    port: int = DEFAULT_PORT
    security: Security = Security.TLS
    nodelay: bool = True
    """TCP_NODELAY on the tunnel's own TCP connection, both ends."""
    socks: tuple[str, int] | None = None
    """Address and port of the caller's SOCKS proxy; None: connect directly."""
    number: int = 0
    """Number of the tunnel among those between the same hosts; part of its addresses and its device name."""

    @property
    def device(self) -> str:
        """Name of its TUN device."""
        return device_name(self.number)

    @property
    def caller_address(self) -> str:
        """The caller's address in the tunnel; tunnel 0 has the published study's addresses."""
        return f"10.8.{self.number}.2"

    @property
    def callee_address(self) -> str:
        """The callee's address in the tunnel."""
        return vpn_callee_address(self.number)


def client_config(tunnel: Tunnel) -> str:
    """The caller's file."""
    lines = [
        f"# Caller's end of an OpenVPN tunnel over TCP, security {tunnel.security}",
        "proto tcp4-client",
        f"remote {tunnel.server} {tunnel.port}",
        "nobind",
        f"connect-timeout {_CONNECT_TIMEOUT_S}",
        "connect-retry 1 1",
    ]
    if tunnel.socks is not None:
        lines.append(f"socks-proxy {tunnel.socks[0]} {tunnel.socks[1]} {SOCKS_AUTH}")
    lines += _both_ends(tunnel, tunnel.caller_address, tunnel.callee_address)
    if tunnel.security is Security.TLS:
        lines += _tls("client", "server", SERVER_NAME)
    return "\n".join(lines) + "\n"


def server_config(tunnel: Tunnel) -> str:
    """The callee's file."""
    lines = [
        f"# Callee's end of an OpenVPN tunnel over TCP, security {tunnel.security}",
        "proto tcp4-server",
        f"local {tunnel.server}",
        f"lport {tunnel.port}",
        *_both_ends(tunnel, tunnel.callee_address, tunnel.caller_address),
    ]
    if tunnel.security is Security.TLS:
        lines += [*_tls("server", "client", CLIENT_NAME), "dh none"]
    return "\n".join(lines) + "\n"


def key_files(security: Security, now: datetime, valid: timedelta) -> Mapping[str, tuple[bytes, int]]:
    """New key files for a tunnel: name -> content and file mode (0600 for a secret). `now` in UTC."""
    from earwitness.path.certificates import static_files, tls_files  # calls without a tunnel import no cryptography

    if security is Security.TLS:
        return tls_files(now, valid, server=SERVER_NAME, client=CLIENT_NAME)
    return static_files() if security is Security.STATIC else {}


def files_of(end: str, security: Security, socks: bool) -> tuple[str, ...]:
    """The key files that one end (`client` or `server`) needs besides its configuration."""
    keys = {Security.NONE: (), Security.STATIC: ("static.key",), Security.TLS: ("ca.crt", f"{end}.crt", f"{end}.key")}
    return (*keys[security], *((SOCKS_AUTH,) if socks and end == "client" else ()))


def _both_ends(tunnel: Tunnel, local: str, remote: str) -> list[str]:
    lines = [
        f"dev {tunnel.device}",
        "dev-type tun",
        # Kernel offload (DCO) would take a different path through the machine than the study's packets did.
        "disable-dco",
        f"ifconfig {local} {remote}",
        # A point-to-point tunnel without TLS is up once its first packet has arrived: this ping.
        f"ping {PING_EVERY_S}",
        f"ping-exit {DEAD_AFTER_S}",
        "verb 3",
    ]
    if tunnel.nodelay:
        lines.append("socket-flags TCP_NODELAY")
    if tunnel.security is Security.TLS:
        return lines
    # OpenVPN 2.7 requires this second option; 2.6 does not know it, so `setenv opt` makes it optional.
    lines.append("setenv opt allow-deprecated-insecure-static-crypto")
    if tunnel.security is Security.NONE:
        return [*lines, "cipher none", "auth none"]
    return [*lines, "secret static.key", "cipher AES-256-CBC", "auth SHA256"]


def _tls(end: str, other: str, others_name: str) -> list[str]:
    return [
        f"tls-{end}",
        "ca ca.crt",
        f"cert {end}.crt",
        f"key {end}.key",
        f"remote-cert-tls {other}",
        f"verify-x509-name {others_name} name",
        "tls-version-min 1.2",
        "data-ciphers AES-256-GCM:CHACHA20-POLY1305",
    ]
