"""The relays of a consensus."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass, field

from earwitness.errors import EarwitnessError


@dataclass(frozen=True)
class Relay:
    """One relay of a Tor network.

    `fingerprint` is 40 upper-case hexadecimal digits; `flags` are the consensus flags (dir-spec 3.4.1);
    `place` and `country` are its location, empty if unknown.
    """

    nickname: str
    fingerprint: str
    address: str
    or_port: int = 9001
    flags: frozenset[str] = field(default=frozenset())
    place: str = ""
    country: str = ""
    bandwidth: int = 0

    @property
    def is_exit(self) -> bool:
        """Whether it has the Exit flag."""
        return "Exit" in self.flags and "BadExit" not in self.flags

    @property
    def is_guard(self) -> bool:
        """Whether it has the Guard flag."""
        return "Guard" in self.flags

    @property
    def is_authority(self) -> bool:
        """Whether it is a directory authority, which should not be chosen as a hop."""
        return "Authority" in self.flags


def parse_router_status(lines: Iterable[str]) -> list[Relay]:
    """The relays in the `r`, `s` and `w` lines of `GETINFO ns/all` (control-spec 3.9, dir-spec 3.4.1).

    Raises `EarwitnessError` for a malformed `r` line.
    """
    relays: list[Relay] = []
    for line in lines:
        keyword, _, rest = line.strip().partition(" ")
        if keyword == "r":
            relays.append(_router(rest))
        elif keyword == "s" and relays:
            relays[-1] = _with(relays[-1], flags=frozenset(rest.split()))
        elif keyword == "w" and relays:
            weights = dict(item.split("=", 1) for item in rest.split() if "=" in item)
            relays[-1] = _with(relays[-1], bandwidth=int(weights.get("Bandwidth", "0")))
    return relays


def _router(rest: str) -> Relay:
    fields = rest.split()
    try:
        nickname, identity = fields[0], fields[1]
        fingerprint = base64.b64decode(identity + "=" * (-len(identity) % 4)).hex().upper()
        # The full consensus has a descriptor digest before the date; a microdescriptor consensus does not.
        address, or_port = fields[-3], int(fields[-2])
    except (IndexError, ValueError) as error:
        raise EarwitnessError(
            "reading a router status line", rest, error, "check that the control port belongs to a Tor client"
        ) from error
    return Relay(nickname, fingerprint, address, or_port)


def _with(relay: Relay, *, flags: frozenset[str] | None = None, bandwidth: int | None = None) -> Relay:
    return Relay(
        relay.nickname,
        relay.fingerprint,
        relay.address,
        relay.or_port,
        relay.flags if flags is None else flags,
        relay.place,
        relay.country,
        relay.bandwidth if bandwidth is None else bandwidth,
    )
