"""Authentication of the control channel: two self-signed certificates, each pinned by the other side.

There is no certificate authority: each side accepts exactly one certificate, byte for byte. The answering side
generates both key pairs; the calling side's share travels in one file, the invitation.
"""

from __future__ import annotations

import json
import os
import ssl
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from earwitness.errors import InputError
from earwitness.files import read_text

SERVER_KEY = "server.key"
SERVER_CERTIFICATE = "server.pem"
CLIENT_CERTIFICATE = "client.pem"
INVITATION = "invitation.json"
_VALID_YEARS = 10
"""Long: a pinned certificate is revoked by making another, and clocks may be far off."""
_INVITATION_VERSION = 1


@dataclass(frozen=True)
class Identity:
    """A certificate and its private key, both PEM."""

    certificate: str
    key: str = field(repr=False)


@dataclass(frozen=True)
class Invitation:
    """What the calling side needs: the address, the server's certificate, and its own identity."""

    address: str
    """HOST:PORT, or empty if the caller must supply it."""
    server_certificate: str
    client_certificate: str
    client_key: str = field(repr=False)

    def write(self, path: Path) -> None:
        """Write it, readable by its owner only. Raises `InputError` if the file exists or cannot be written."""
        values = {"earwitness_invitation": _INVITATION_VERSION, **asdict(self)}
        write_private(path, json.dumps(values, indent=1) + "\n")

    @staticmethod
    def read(path: Path) -> Invitation:
        """Read one. Raises `InputError` if it is invalid, or readable by others: it holds a private key."""
        try:
            if stat.S_IMODE(path.stat().st_mode) & 0o077:
                raise InputError(
                    "reading the invitation", path, "others may read the key in it", f"run `chmod 600 {path}`"
                )
            values = json.loads(read_text(path))
            if values.pop("earwitness_invitation") != _INVITATION_VERSION:
                raise ValueError("another version of Earwitness wrote it")
            if not all(isinstance(value, str) for value in values.values()):
                raise ValueError("not all of it is text")
            return Invitation(**values)
        except OSError as error:
            remedy = "copy the file that `earwitness answer` wrote"
            raise InputError("reading the invitation", path, error.strerror, remedy) from error
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            remedy = "copy the file that `earwitness answer` wrote"
            # The parser's message may quote a line that contains a key.
            happened = "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else f"not an invitation: {error!r}"
            raise InputError("reading the invitation", path, happened[:200], remedy) from error


def make_identity(name: str) -> Identity:
    """Make a new key (EC P-256) and a self-signed certificate for it that cannot sign others."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now + timedelta(days=365 * _VALID_YEARS))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Identity(
        certificate.public_bytes(serialization.Encoding.PEM).decode(),
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode(),
    )


@dataclass(frozen=True)
class AnswerKeys:
    """The answering side's keys: its own identity and the one client certificate that it accepts."""

    server: Identity
    client_certificate: str

    @staticmethod
    def make(address: str) -> tuple[AnswerKeys, Invitation]:
        """Make new keys for both sides. The caller's private key is in the invitation and nowhere else."""
        server, client = make_identity("earwitness answer"), make_identity("earwitness call")
        invitation = Invitation(address, server.certificate, client.certificate, client.key)
        return AnswerKeys(server, client.certificate), invitation

    def write(self, folder: Path) -> None:
        """Write them to a folder, the private key readable by its owner only."""
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise InputError("making", folder, error.strerror, "give another folder") from error
        for name, text in (
            (SERVER_KEY, self.server.key),
            (SERVER_CERTIFICATE, self.server.certificate),
            (CLIENT_CERTIFICATE, self.client_certificate),
        ):
            write_private(folder / name, text)

    @staticmethod
    def read(folder: Path) -> AnswerKeys:
        """Read the keys that `write` wrote. Raises `InputError` if they are missing or the private key is readable by
        others.
        """
        try:
            if stat.S_IMODE((folder / SERVER_KEY).stat().st_mode) & 0o077:
                remedy = f"run `chmod 600 {folder / SERVER_KEY}`"
                raise InputError("reading the keys in", folder, "others may read the private key", remedy)
            read = {name: (folder / name).read_text() for name in (SERVER_KEY, SERVER_CERTIFICATE, CLIENT_CERTIFICATE)}
        except OSError as error:
            remedy = f"make them: `earwitness answer --init {folder}`"
            raise InputError("reading the keys in", folder, error.strerror, remedy) from error
        except ValueError as error:
            remedy = "make new ones: `earwitness answer --init` with another folder"
            raise InputError("reading the keys in", folder, "not text", remedy) from error
        return AnswerKeys(Identity(read[SERVER_CERTIFICATE], read[SERVER_KEY]), read[CLIENT_CERTIFICATE])


def server_context(keys: AnswerKeys) -> ssl.SSLContext:
    """Return a TLS 1.3 context for the answering side: the handshake fails without the one client certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.num_tickets = 0
    return _pinned(context, keys.server, keys.client_certificate, "the keys of the answering side")


def client_context(invitation: Invitation) -> ssl.SSLContext:
    """Return a TLS 1.3 context for the calling side: nothing is sent to a server without the pinned certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # the certificate is pinned; addresses may change
    own = Identity(invitation.client_certificate, invitation.client_key)
    return _pinned(context, own, invitation.server_certificate, "the invitation")


def is_pinned(presented: bytes | None, pinned: str) -> bool:
    """Whether the certificate that the peer presented (DER) is the pinned one (PEM)."""
    return presented is not None and presented == ssl.PEM_cert_to_DER_cert(pinned)


def _pinned(context: ssl.SSLContext, own: Identity, peer: str, source: str) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_verify_locations(cadata=peer)
        with _in_memory(own.certificate + own.key) as path:
            context.load_cert_chain(path)
    except (ssl.SSLError, ValueError) as error:
        raise InputError("using the certificates of", source, error, "make new ones: `earwitness answer --init`") from (
            error
        )
    return context


@contextmanager
def _in_memory(text: str) -> Iterator[str]:
    """Give the path of an in-memory file, for a library that reads keys from files only."""
    descriptor = os.memfd_create("earwitness", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def write_private(path: Path, text: str) -> None:
    """Create a file that is readable by its owner only, from the moment it exists; an existing file is an error."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InputError("writing", path, error.strerror, "remove it, or give another place") from error
    try:
        with os.fdopen(descriptor, "w") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(text)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise InputError("writing", path, error.strerror, "free space there, or give another place") from error
