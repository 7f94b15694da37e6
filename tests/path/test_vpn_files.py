"""Configuration and keys of a tunnel, without any tunnel."""

from __future__ import annotations

import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from earwitness.call.plan import SECURITIES
from earwitness.errors import InputError
from earwitness.path.certificates import static_files, tls_files
from earwitness.path.manual import tunnel_by_hand, write_by_hand
from earwitness.path.vpn_config import Security, Tunnel, client_config, server_config

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECRET_NAMES = {"client.key", "server.key", "static.key", "socks-auth"}


@pytest.mark.parametrize("security", Security)
def test_through_tor_and_straight_differ_in_one_line(security: Security) -> None:
    straight = Tunnel(server="192.0.2.1", security=security)
    through = Tunnel(server="192.0.2.1", security=security, socks=("127.0.0.1", 9050))
    assert set(client_config(through).splitlines()) - set(client_config(straight).splitlines()) == {
        "socks-proxy 127.0.0.1 9050 socks-auth"
    }
    assert server_config(through) == server_config(straight)


@pytest.mark.parametrize("end", [client_config, server_config])
def test_nodelay_is_one_line(end: Callable[[Tunnel], str]) -> None:
    with_it, without = (end(Tunnel(server="192.0.2.1", nodelay=on)) for on in (True, False))
    assert set(with_it.splitlines()) - set(without.splitlines()) == {"socket-flags TCP_NODELAY"}


def test_the_plan_knows_the_same_securities() -> None:
    assert tuple(Security) == SECURITIES


def test_certificates_are_for_one_end_each_and_signed_by_the_run_s_authority() -> None:
    files = tls_files(NOW, timedelta(days=1), server="earwitness-callee", client="earwitness-caller")
    authority = x509.load_pem_x509_certificate(files["ca.crt"][0])
    for end, usage in (("client", ExtendedKeyUsageOID.CLIENT_AUTH), ("server", ExtendedKeyUsageOID.SERVER_AUTH)):
        certificate = x509.load_pem_x509_certificate(files[f"{end}.crt"][0])
        certificate.verify_directly_issued_by(authority)
        assert list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [usage]
        assert certificate.not_valid_before_utc < NOW < certificate.not_valid_after_utc <= NOW + timedelta(days=1)
        key = load_pem_private_key(files[f"{end}.key"][0], None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        assert key.public_key() == certificate.public_key()
    assert "ca.key" not in files


def test_static_keys_are_of_the_right_length_and_never_the_same() -> None:
    (one, _), (other, _) = (static_files()["static.key"] for _ in range(2))
    lines = one.decode().splitlines()
    assert (len(lines), {len(line) for line in lines[1:-1]}) == (18, {32})
    assert len(bytes.fromhex("".join(lines[1:-1]))) == 256
    assert one != other


@pytest.mark.parametrize("security", [*Security])
def test_secrets_are_for_the_owner_alone_and_in_no_configuration(tmp_path: Path, security: Security) -> None:
    tunnel = tunnel_by_hand("192.0.2.1", 1194, security, "127.0.0.1:9050", nodelay=True)
    written = write_by_hand(tmp_path / "new", tunnel, 1)
    keys = {Security.NONE: set(), Security.STATIC: {"static.key"}, Security.TLS: {"client.key", "server.key"}}[security]
    assert {path.name for path in written} & SECRET_NAMES == {*keys, "socks-auth"}
    for path in written:
        assert (stat.S_IMODE(path.stat().st_mode) == 0o600) == (path.name in SECRET_NAMES), path.name
    configs = list((tmp_path / "new").glob("*.ovpn"))
    assert len(configs) == 2
    for config in configs:
        assert "BEGIN" not in config.read_text()
    with pytest.raises(InputError, match="exists"):
        write_by_hand(tmp_path / "new", tunnel, 1)


@pytest.mark.parametrize(
    ("server", "security", "socks"),
    [
        ("example.org", "tls", None),
        ("192.0.2.1", "ssl", None),
        ("192.0.2.1", "tls", "9050"),
        ("192.0.2.1", "tls", "127.0.0.1:90500"),
        ("192.0.2.1", "tls", "127.0.0.1:\u00b2"),
    ],
)
def test_what_cannot_be_a_tunnel_is_refused(server: str, security: str, socks: str | None) -> None:
    with pytest.raises(InputError):
        tunnel_by_hand(server, 1194, security, socks, nodelay=True)
