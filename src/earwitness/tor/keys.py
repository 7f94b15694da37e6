"""The keys that must be there before anybody starts, made by tor's own tools.

An authority's fingerprints stand in everybody's configuration. A relay could make its keys when it starts, but
then eleven of them compute while the first vote is already near; with its keys there, it is up and
published in a fraction of a second.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import shutil
from contextlib import suppress
from pathlib import Path

from earwitness.errors import CallFailure, Outcome
from earwitness.tor.together import together
from earwitness.tor.torrc import DIR_PORT, OR_PORT, Authority

_LIFETIME_MONTHS = 12


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
    """Make the identity, the voting certificate and the relay keys of one authority under `directory`/keys.

    The long-term identity is thrown away afterwards: nobody renews a certificate of a network that lives
    for hours. Raises `CallFailure` with what the tool said.
    """
    keys = directory / "keys"
    keys.mkdir(parents=True, exist_ok=True, mode=0o700)
    certificate = ["tor-gencert", "--create-identity-key", "-m", str(_LIFETIME_MONTHS)]
    certificate += ["-a", f"{address}:{DIR_PORT}", "--passphrase-fd", "0"]
    passphrase = secrets.token_hex(16).encode() + b"\n"
    fingerprint, _ = await together(make_relay(nickname, address, directory), _run(certificate, keys, passphrase))
    (keys / "authority_identity_key").unlink()
    identity = _find(r"^fingerprint ([0-9A-F]{40})$", keys / "authority_certificate")
    return Authority(nickname, address, fingerprint, identity)


async def make_relay(nickname: str, address: str, directory: Path) -> str:
    """Make the keys of one relay under `directory`/keys; its fingerprint. Raises `CallFailure` with what tor said."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    directory.chmod(0o700)
    argv = ["tor", "--list-fingerprint", "--hush", "--ignore-missing-torrc", "-f", str(directory / "none")]
    argv += ["--defaults-torrc", str(directory / "none"), "--DataDirectory", str(directory)]
    argv += ["--ORPort", str(OR_PORT), "--Address", address, "--Nickname", nickname]
    await _run(argv, directory, b"")
    return _find(r" ([0-9A-F]{40})\s*$", directory / "fingerprint")


async def _run(argv: list[str], directory: Path, stdin: bytes) -> str:
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
    return said.decode(errors="replace")


def _find(pattern: str, file: Path) -> str:
    found = re.search(pattern, file.read_text(), re.MULTILINE)
    if found is None:
        raise CallFailure(
            Outcome.LAB_FAILED,
            "reading the key file",
            on=file,
            happened="no fingerprint in it",
            remedy="see that the tor package is whole: sudo apt-get install --reinstall tor",
        )
    return found.group(1)
