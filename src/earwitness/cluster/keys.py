"""The keys of a cluster: one certificate authority, and a folder with a key and a certificate for each machine.

DIR/authority/ca.pem, ca.key      stays where it was created
DIR/scheduler/, DIR/client/, DIR/vantage-NAME/
    ca.pem, certificate.pem, private.key

Whoever holds a certificate of the authority belongs to the cluster, in any role: Dask transfers code between its
machines, so they must trust one another completely.
"""

from __future__ import annotations

import re
import ssl
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from earwitness.errors import InputError
from earwitness.files import MIB, read_regular
from earwitness.path.certificates import key_usage
from earwitness.remote.certificates import write_private

if TYPE_CHECKING:
    from distributed.security import Security

AUTHORITY = "authority"
ROLES = ("scheduler", "client")
AUTHORITY_CERTIFICATE = "ca.pem"
AUTHORITY_KEY = "ca.key"
CERTIFICATE = "certificate.pem"
KEY = "private.key"

_VALID = timedelta(days=3650)
_CLOCKS_APART = timedelta(days=2)


@dataclass(frozen=True)
class ClusterKeys:
    """The keys of one machine, as paths, because Dask reads keys from files."""

    folder: Path

    @staticmethod
    def read(folder: Path) -> ClusterKeys:
        """The keys in a folder created by `make_keys`. `InputError` if they are missing or readable by others."""
        key = folder / KEY
        try:
            for name in (AUTHORITY_CERTIFICATE, CERTIFICATE, KEY):
                read_regular(folder / name, MIB)
            if stat.S_IMODE(key.stat().st_mode) & 0o077:
                remedy = f"run `chmod 600 {key}`"
                raise InputError("reading the cluster's keys in", folder, "others can read the private key", remedy)
            context = ssl.create_default_context(cafile=str(folder / AUTHORITY_CERTIFICATE))
            context.load_cert_chain(folder / CERTIFICATE, key)
        except (OSError, ssl.SSLError) as error:
            remedy = "give a folder that `earwitness cluster init` made, for example DIR/client"
            raise InputError("reading the cluster's keys in", folder, error.strerror or error, remedy) from error
        return ClusterKeys(folder)

    def security(self) -> Security:
        """Mutual TLS 1.3 for every connection, in either role: the other side must present a certificate of the
        authority too.
        """
        from distributed.security import Security

        certificate, key = str(self.folder / CERTIFICATE), str(self.folder / KEY)
        return Security(
            require_encryption=True,
            tls_ca_file=str(self.folder / AUTHORITY_CERTIFICATE),
            tls_min_version=ssl.TLSVersion.TLSv1_3,
            tls_scheduler_cert=certificate,
            tls_scheduler_key=key,
            tls_worker_cert=certificate,
            tls_worker_key=key,
            tls_client_cert=certificate,
            tls_client_key=key,
        )


def make_cluster_keys(folder: Path, vantages: Sequence[str] = ()) -> list[Path]:
    """Create a cluster's keys in `folder`, or keys of further vantages if the authority exists; returns the new
    folders.

    `InputError` if a vantage's name is not valid as a folder name or is taken, or nothing can be written.
    """
    authority = folder / AUTHORITY
    new = not authority.exists()
    names = [*(ROLES if new else ()), *(f"vantage-{_checked(name)}" for name in vantages)]
    if not names:
        remedy = "name a further vantage, or give another folder"
        raise InputError("making a cluster's keys in", folder, "it has an authority already", remedy, field="vantage")
    for name in names:
        if (folder / name).exists() or names.count(name) > 1:
            happened = "it exists already" if (folder / name).exists() else "two vantages have that name"
            raise InputError("making keys in", folder / name, happened, "give the vantage another name")
    certificate, key = _new_authority(authority) if new else _read_authority(authority)
    made = []
    for name in names:
        own, own_key = _certificate(name, certificate, key)
        made.append(_written(folder / name, own, own_key, certificate))
    return made


def _checked(name: str) -> str:
    plain = re.sub(r"\s+", "-", name.strip().lower())
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,60}", plain):
        raise InputError("naming a vantage", repr(name), "it is not a valid folder name", "use letters, digits and -")
    return plain


def _new_authority(folder: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    certificate, key = _certificate("earwitness cluster", None, None)
    _make_folder(folder)
    write_private(folder / AUTHORITY_KEY, _key_pem(key))
    write_private(folder / AUTHORITY_CERTIFICATE, _pem(certificate))
    return certificate, key


def _read_authority(folder: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    try:
        certificate = x509.load_pem_x509_certificate(read_regular(folder / AUTHORITY_CERTIFICATE, MIB))
        key = serialization.load_pem_private_key(read_regular(folder / AUTHORITY_KEY, MIB), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError("it is another kind of key")
    except (OSError, ValueError) as error:
        remedy = "give the folder where the cluster's keys were made, or a new one"
        raise InputError("reading the cluster's authority in", folder, error, remedy) from error
    return certificate, key


def _written(folder: Path, own: x509.Certificate, key: ec.EllipticCurvePrivateKey, authority: x509.Certificate) -> Path:
    _make_folder(folder)
    write_private(folder / AUTHORITY_CERTIFICATE, _pem(authority))
    write_private(folder / CERTIFICATE, _pem(own))
    write_private(folder / KEY, _key_pem(key))
    return folder


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise InputError("making", folder, error.strerror, "give another folder") from error


def _certificate(
    name: str, issuer: x509.Certificate | None, issuer_key: ec.EllipticCurvePrivateKey | None
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """A new key (EC P-256) and its certificate; without an issuer, a self-signed authority's."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signing = issuer_key or key
    now = datetime.now(UTC)
    leaf = issuer is not None
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCKS_APART)
        .not_valid_after(now + _VALID)
        .add_extension(x509.BasicConstraints(ca=not leaf, path_length=None if leaf else 0), critical=True)
        .add_extension(key_usage(leaf), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), critical=False)
    )
    if leaf:
        both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        builder = builder.add_extension(both, critical=False)
    return builder.sign(signing, hashes.SHA256()), key


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
