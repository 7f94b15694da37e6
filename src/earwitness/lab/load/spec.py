"""Background traffic as a value: `LoadSpec`, with a short text form."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from earwitness.errors import InputError

LOAD_CLIENT, LOAD_SERVER = "load", "loadserver"
"""The hosts of background traffic: all clients behind one tor, and their server."""
NO_LOAD = "none"
MOST_CLIENTS = 64
LEAST_RATE_MBIT = 0.01
"""A download that trickles more slowly cannot be distinguished from one that has stopped."""
LEAST_RELAY_MBIT = 0.7
"""Tor does not run as a relay with less than 75 KiB/s."""
DEFAULT_RELAY_MBIT = 2.0
"""Default limit on each relay's rate with a load: without a limit the lab's relays are as fast as the machine, so no
queue would form. It has room for ten voice streams; a load that fills it costs two cores little."""

_FORM = (
    "write none, web:CLIENTS[,page=KIB][,pause=S], bulk:CLIENTS[,rate=MBIT], or several with + between, of"
    f" {MOST_CLIENTS} clients at most"
)


@dataclass(frozen=True)
class Web:
    """Clients that fetch a page, read it, and fetch the next."""

    clients: int
    page_kib: float = 300.0
    """Mean size of a page, KiB; sizes are log-normal, as on the Web."""
    pause_s: float = 5.0
    """Mean of the pause between pages, s; exponential."""


@dataclass(frozen=True)
class Bulk:
    """Clients that download without a pause."""

    clients: int
    rate_mbit: float = 0.0
    """Rate at which the server sends to each client, Mbit/s; 0: as fast as the circuit permits."""


Part = Web | Bulk
_KINDS: dict[str, tuple[type[Web] | type[Bulk], dict[str, str]]] = {
    "web": (Web, {"page": "page_kib", "pause": "pause_s"}),
    "bulk": (Bulk, {"rate": "rate_mbit"}),
}


@dataclass(frozen=True)
class LoadSpec:
    """A load: parts that run at the same time. Without parts there is no load."""

    parts: tuple[Part, ...] = ()

    @classmethod
    def parse(cls, text: str) -> LoadSpec:
        """Read `none`, `web:12`, `web:12,pause=2+bulk:1,rate=1`. Raises `InputError` for anything else."""
        if text in ("", NO_LOAD):
            return cls()
        found = cls(tuple(_part(part.strip(), text) for part in text.split("+")))
        if found.clients > MOST_CLIENTS:
            raise InputError(
                "loading the lab with",
                text,
                f"{found.clients} clients",
                f"give {MOST_CLIENTS} at most",
                field="clients",
            )
        return found

    @property
    def clients(self) -> int:
        """Total number of clients."""
        return sum(part.clients for part in self.parts)

    def __bool__(self) -> bool:
        return bool(self.parts)

    def __str__(self) -> str:
        """The text form of this value, without settings at their defaults."""
        return "+".join(_text(part) for part in self.parts) or NO_LOAD


def _part(part: str, whole: str) -> Part:
    head, *settings = part.split(",")
    kind, _, count = head.partition(":")
    if kind not in _KINDS or not count.isdecimal() or not 1 <= int(count) <= MOST_CLIENTS:
        raise InputError("reading the load", whole, f"{head!r} is not a valid load", _FORM)
    made, names = _KINDS[kind]
    values: dict[str, float] = {}
    for setting in settings:
        name, equals, text = setting.strip().partition("=")
        try:
            number = float(text)
        except ValueError:
            number = -1.0
        if name not in names or not equals or not 0.0 <= number <= 1e5:
            raise InputError(
                "reading the load",
                whole,
                f"{setting.strip()!r} is not a setting of {kind}",
                _FORM,
                field=names.get(name, ""),
            )
        values[names[name]] = number
    if values.get("page_kib") == 0:
        raise InputError("reading the load", whole, "a page of size 0", _FORM, field="page_kib")
    if 0.0 < values.get("rate_mbit", 0.0) < LEAST_RATE_MBIT:
        raise InputError(
            "reading the load", whole, f"a rate below {LEAST_RATE_MBIT:g} Mbit/s", _FORM, field="rate_mbit"
        )
    return made(int(count), **values)


def _text(part: Part) -> str:
    kind, names = next((kind, names) for kind, (made, names) in _KINDS.items() if isinstance(part, made))
    defaults = {field.name: field.default for field in dataclasses.fields(part)}
    settings = [
        f"{short}={getattr(part, name):.15g}" for short, name in names.items() if getattr(part, name) != defaults[name]
    ]
    return ",".join([f"{kind}:{part.clients}", *settings])
