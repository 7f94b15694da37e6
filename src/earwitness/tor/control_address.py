"""The address of a tor's control port."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from earwitness.errors import CallFailure, InputError, Outcome


@dataclass(frozen=True)
class ControlAddress:
    """The address of a control port: a unix socket, or a TCP address and port."""

    path: Path | None = None
    host: str = "127.0.0.1"
    port: int = 9051

    @staticmethod
    def parse(text: str) -> ControlAddress:
        """`unix:/run/tor/control`, `/run/tor/control`, `127.0.0.1:9051` or `9051`; `InputError` otherwise."""
        if text.startswith(("unix:", "/")):
            return ControlAddress(path=Path(text.removeprefix("unix:")))
        host, _, port = text.rpartition(":")
        if not port.isdecimal() or not 0 < int(port) < 65536:
            raise InputError(
                "reading the control port",
                text,
                "not an address",
                "give unix:/path or host:port, such as 127.0.0.1:9051",
            )
        return ControlAddress(host=host or "127.0.0.1", port=int(port))

    def __str__(self) -> str:
        return f"unix:{self.path}" if self.path else f"{self.host}:{self.port}"


CONTROL_ADDRESSES = ("unix:/run/tor/control", "127.0.0.1:9051")
"""The control ports of Debian's tor, and of the example in tor's manual."""


def default_control() -> ControlAddress:
    """The usual control port of this machine's tor."""
    unix, tcp = (ControlAddress.parse(text) for text in CONTROL_ADDRESSES)
    return unix if unix.path and unix.path.exists() else tcp


class ControlUnreachable(CallFailure):
    """Nothing listens at the control port, or it does not respond."""

    def __init__(self, address: ControlAddress, happened: object) -> None:
        super().__init__(
            Outcome.PATH_FAILED,
            "connecting to the control port of tor at",
            on=address,
            happened=happened,
            remedy="start tor, or give its control port",
        )
