"""The public Tor network through a tor that runs here, and the limits that keep calls from burdening it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from aiostem.exceptions import AiostemError

from earwitness.errors import EarwitnessError, InputError
from earwitness.tor.control import TorControl
from earwitness.tor.control_address import ControlAddress, default_control
from earwitness.tor.description import TorClient, TorNetwork
from earwitness.tor.relays import Relay

CALLS_AN_HOUR = 12
"""A call of half a minute is 1,500 cells, 0.8 MB, in each direction over each relay; twelve are 20 MB per hour."""
_HOUR_S = 3600.0
_COUNTRIES_AT_ONCE = 400


async def public_tor(control: ControlAddress | None, host: str) -> TorNetwork:
    """The Tor network as known to a running tor, with that tor as the client of `host`.

    Nothing is requested from the network: relays come from tor's consensus, countries from tor's own table.
    Raises `EarwitnessError` if no tor listens, none lets us authenticate, or tor is not ready.
    """
    if control is None:
        control = default_control()
    async with TorControl.connect(control) as tor:
        if await tor.info("status/enough-dir-info") != "1":
            raise EarwitnessError("using tor at", control, "it does not know enough relays yet", "wait a minute")
        relays = [relay for relay in await tor.relays() if {"Running", "Valid"} <= relay.flags]
        return TorNetwork(
            name=(await tor.info("version")).strip(),
            relays=tuple(await _with_countries(tor, [relay for relay in relays if not relay.is_authority])),
            authorities=tuple(relay for relay in relays if relay.is_authority),
            clients={host: TorClient(host, control, await _socks(tor))},
        )


class Politeness:
    """Limits calls over the public network to one at a time and a number per hour, across all commands of a user.

    The times of past calls are in `ledger`, a file that all commands of this user share.
    """

    def __init__(
        self, ledger: Path | None = None, calls_an_hour: int = CALLS_AN_HOUR, clock: Callable[[], float] = time.time
    ) -> None:
        if calls_an_hour < 1:
            raise InputError("allowing", f"{calls_an_hour} calls an hour", "less than one", "give 1 or more")
        self.ledger = ledger or _state_folder() / "public-calls.json"
        self.calls_an_hour = calls_an_hour
        self._clock = clock

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """The turn of one call. Raises `InputError` if another is in progress, or the hourly limit is reached."""
        self.ledger.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.ledger, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                tried = ("calling over", "the public Tor network")
                raise InputError(*tried, "another call is on", "place one at a time") from error
            self._count(descriptor)
            yield
        finally:
            os.close(descriptor)

    def _count(self, descriptor: int) -> None:
        """Record this call if the hourly limit allows it. A ledger that cannot be read counts as a reached limit."""
        now = self._clock()
        text = os.pread(descriptor, 1 << 20, 0)
        try:
            times = [float(at) for at in json.loads(text or b"[]")]
        except (ValueError, TypeError) as error:
            raise InputError("counting calls in", self.ledger, "it is damaged", "remove it in an hour") from error
        # A time in the future (the clock was set back) counts as now.
        recent = [min(at, now) for at in times if at > now - _HOUR_S]
        if len(recent) >= self.calls_an_hour:
            free_at = sorted(recent)[-self.calls_an_hour] + _HOUR_S
            raise InputError(
                "calling over",
                "the public Tor network",
                f"{len(recent)} calls in the last hour, of {self.calls_an_hour} allowed",
                f"try again at {datetime.fromtimestamp(free_at):%H:%M}; others need these relays too",
            )
        # In this order, so that a kill in between leaves a damaged ledger, not an empty one.
        os.ftruncate(descriptor, os.pwrite(descriptor, json.dumps([*recent, now]).encode(), 0))


def _state_folder() -> Path:
    """`$XDG_STATE_HOME/earwitness` (XDG base directory specification)."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "earwitness"


async def _socks(tor: TorControl) -> tuple[str, int]:
    """The first TCP address of tor's SOCKS listeners."""
    listeners = await tor.info("net/listeners/socks")
    for listener in listeners.replace('"', "").split():
        host, _, port = listener.rpartition(":")
        if port.isdigit() and "unix" not in host and not host.startswith("[") and int(port):  # no IPv6
            return host, int(port)
    remedy = "add `SocksPort 9050` to its torrc"
    raise EarwitnessError("using tor at", tor.address, f"it takes SOCKS streams at {listeners or 'no address'}", remedy)


async def _with_countries(tor: TorControl, relays: Sequence[Relay]) -> list[Relay]:
    """The relays with their countries from tor's own table; without countries if tor has none."""
    try:
        if await tor.info("ip-to-country/ipv4-available") != "1":
            return list(relays)
    except EarwitnessError:
        return list(relays)
    countries: dict[str, str] = {}
    keys = sorted({f"ip-to-country/{relay.address}" for relay in relays})
    for begin in range(0, len(keys), _COUNTRIES_AT_ONCE):
        try:
            reply = await tor.request(tor.controller.get_info(*keys[begin : begin + _COUNTRIES_AT_ONCE]))
            reply.raise_for_status()
        except AiostemError as error:
            raise EarwitnessError("asking tor for the countries of", "relays", error, "see tor's log") from error
        countries.update({key: str(value).upper() for key, value in (reply.data or {}).items() if value != "??"})
    return [replace(relay, country=countries.get(f"ip-to-country/{relay.address}", "")) for relay in relays]
