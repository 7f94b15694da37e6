"""Makes the keys of a directory authority before any tor starts.

Every node's configuration contains the authority's fingerprints, so unlike a relay it cannot make its keys on start.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from earwitness.errors import CallFailure, Outcome
from earwitness.tor.torrc import DIR_PORT, Authority

_LIFETIME_MONTHS = 12
_RELAY_IDENTITY_BITS = 1024
"""The size that tor-spec gives (the ed25519 identity is separate)."""
_AUTHORITY_IDENTITY_BITS = 2048


def need_tor() -> None:
    """Raise `CallFailure` (`TOOL_MISSING`) unless tor and tor-gencert are installed."""
    for tool in ("tor", "tor-gencert"):
        if shutil.which(tool) is None:
            raise CallFailure(
                Outcome.TOOL_MISSING,
                "starting the private Tor network with",
                on=tool,
                happened="it is not installed",
                remedy="install it: sudo apt-get install tor",
                evidence={"tool": tool},
            )


async def make_authority(nickname: str, address: str, directory: Path) -> Authority:
    """Make the identity, the voting certificate and the relay identity of one authority under `directory`/keys.

    The identities are made here, in hundredths of a second: `tor --list-fingerprint` would start a tor, and
    tor-gencert would use 3,072 bits. The long-term identity is discarded once it has signed the certificate, which is
    never renewed in a network that lives for hours. Raises `CallFailure` with the tool's output.
    """
    keys = directory / "keys"
    keys.mkdir(parents=True, exist_ok=True, mode=0o700)
    directory.chmod(0o700)
    relay_identity = rsa.generate_private_key(public_exponent=65537, key_size=_RELAY_IDENTITY_BITS)
    _write(keys / "secret_id_key", relay_identity, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    passphrase = secrets.token_hex(16).encode()
    identity = rsa.generate_private_key(public_exponent=65537, key_size=_AUTHORITY_IDENTITY_BITS)
    _write(keys / "identity", identity, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase))
    argv = ["tor-gencert", "-i", "identity", "-m", str(_LIFETIME_MONTHS)]
    argv += ["-a", f"{address}:{DIR_PORT}", "--passphrase-fd", "0"]
    try:
        await _run(argv, keys, passphrase + b"\n")
    finally:
        (keys / "identity").unlink()
    return Authority(nickname, address, key_fingerprint(relay_identity), key_fingerprint(identity))


def key_fingerprint(key: rsa.RSAPrivateKey) -> str:
    """SHA-1 of the public key as an ASN.1 RSAPublicKey, in upper-case hexadecimal (tor-spec 1.1, dir-spec 1.2)."""
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
    return hashlib.sha1(public).hexdigest().upper()


def _write(file: Path, key: rsa.RSAPrivateKey, form: PrivateFormat, encryption: KeySerializationEncryption) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        out.write(key.private_bytes(Encoding.PEM, form, encryption))


async def _run(argv: list[str], directory: Path, stdin: bytes) -> None:
    process = await asyncio.create_subprocess_exec(
        *argv,
        cwd=directory,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said, _ = await process.communicate(stdin)
    except asyncio.CancelledError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    if process.returncode:
        lines = said.decode(errors="replace").strip().splitlines()
        raise CallFailure(
            Outcome.LAB_FAILED,
            "making the keys of an authority with",
            on=argv[0],
            happened=lines[-1] if lines else f"exit code {process.returncode}",
            remedy="see that the state directory is writable and not full",
            evidence={"output": lines[-20:]},
        )
