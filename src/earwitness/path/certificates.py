"""Keys for one tunnel only: a certificate authority with one leaf certificate per end, or a shared key.

Elliptic-curve keys (P-256, RFC 5480), X.509 v3 certificates with the extended key usages that OpenVPN's
`remote-cert-tls` asks for (RFC 5280 4.2.1.12). This module writes no files.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_CLOCKS_APART = timedelta(hours=1)
_STATIC_KEY_BYTES = 256
_PUBLIC = 0o644
_SECRET = 0o600


def tls_files(now: datetime, valid: timedelta, *, server: str, client: str) -> Mapping[str, tuple[bytes, int]]:
    """All files of a TLS tunnel: name -> content (PEM) and file mode.

    `ca.crt`, and `server.crt`, `server.key`, `client.crt`, `client.key`. The authority's own key is discarded
    after it has signed these two. `now` in UTC; certificates are valid from an hour before it. `server`, `client`: the
    common names of the two ends.
    """
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority_name = _name(f"earwitness tunnel {secrets.token_hex(4)}")
    until = now.astimezone(UTC) + valid

    def certificate(
        subject: x509.Name, key: ec.EllipticCurvePrivateKey, usage: x509.ObjectIdentifier | None
    ) -> x509.Certificate:
        leaf = usage is not None
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(authority_name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now.astimezone(UTC) - _CLOCKS_APART)
            .not_valid_after(until)
            .add_extension(x509.BasicConstraints(ca=not leaf, path_length=None if leaf else 0), critical=True)
            .add_extension(key_usage(leaf), critical=True)
        )
        if usage is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        return builder.sign(authority_key, hashes.SHA256())

    files = {"ca.crt": (_pem(certificate(authority_name, authority_key, None)), _PUBLIC)}
    for end, name, usage in (
        ("server", server, ExtendedKeyUsageOID.SERVER_AUTH),
        ("client", client, ExtendedKeyUsageOID.CLIENT_AUTH),
    ):
        key = ec.generate_private_key(ec.SECP256R1())
        files[f"{end}.crt"] = (_pem(certificate(_name(name), key, usage)), _PUBLIC)
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        files[f"{end}.key"] = (secret, _SECRET)
    return files


def static_files() -> Mapping[str, tuple[bytes, int]]:
    """The one file of a tunnel with a shared key: `static.key`, 2,048 random bits as `openvpn --genkey` writes them."""
    key = secrets.token_bytes(_STATIC_KEY_BYTES)
    lines = [key[begin : begin + 16].hex() for begin in range(0, _STATIC_KEY_BYTES, 16)]
    head, foot = (f"-----{word} OpenVPN Static key V1-----" for word in ("BEGIN", "END"))
    return {"static.key": ("\n".join([head, *lines, foot, ""]).encode(), _SECRET)}


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def key_usage(leaf: bool) -> x509.KeyUsage:
    """Key usage of an end's certificate, or of the authority's (RFC 5280 4.2.1.3)."""
    return x509.KeyUsage(
        digital_signature=leaf,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=leaf,
        key_cert_sign=not leaf,
        crl_sign=not leaf,
        encipher_only=False,
        decipher_only=False,
    )
