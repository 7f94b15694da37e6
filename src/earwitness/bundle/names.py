"""Collects the names in a data set: relays, machines, people and files, from the fields that hold them.

`earwitness.bundle.pseudonyms` then also replaces these names in free text.
"""

from __future__ import annotations

import contextlib
import functools
import getpass
import os
import re
import socket
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from earwitness.archive.codec import to_plain
from earwitness.archive.record import CallRecord
from earwitness.bundle.pseudonyms import LOCAL
from earwitness.errors import EarwitnessError

_HOME = re.compile(r"(?:/home/|/Users/|/var/home/|/export/home/|~)([\w.@+-]+)")
_IN_SIP = (
    re.compile(r"\bsips?:([^@\s<>;\"']+)@", re.IGNORECASE),
    re.compile(r'"([^"\n]{3,})"\s*<sips?:', re.IGNORECASE),
    re.compile(r'\b(?:username|realm)="?([^",\s]+)', re.IGNORECASE),
    re.compile(r"^o=(\S+) ", re.MULTILINE),
)
_RELAYS_ASKED_FOR = ("guard", "middle", "exit")
_HOSTS_ASKED_FOR = (
    "--to",
    "--sip-server",
    "--reached-at",
    "--cluster",
    "--listen",
    "--name",
    "--tor-control",
    "--metrics",
)
_ENDS = re.compile(r"(?:caller|callee|server)\d*")
_WORDS = frozenset(
    "root home user users data study calls lab tor direct tcp vpn onion none static tls earwitness"  # noqa: SIM905
    " linphone builtin manual admin nobody default test demo relay machine host file device clock call"
    " sip sips voip www mail proxy gateway".split()
)
"""Words too common in texts to be treated as names."""


@dataclass
class Names:
    """Collected names."""

    relays: set[str] = field(default_factory=set)
    machines: set[str] = field(default_factory=set)
    people: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)

    @classmethod
    def of_here(cls, directory: Path) -> Names:
        """This machine, its user, and the location of the data set."""
        found = cls()
        host = socket.gethostname()
        found.machines |= {host, host.partition(".")[0]}
        found.people |= {os.environ.get(name, "") for name in ("USER", "LOGNAME", "SUDO_USER")}
        with contextlib.suppress(KeyError, OSError):  # a user without a name
            found.people.add(getpass.getuser())
        found.files |= {str(directory), str(directory.resolve()), str(Path.home())}
        found.in_text(str(directory.resolve()))
        return found

    def in_record(self, record: CallRecord) -> None:
        """Collect the names in a call's record."""
        self.relays |= {relay.nickname for relay in record.circuit.relays}
        hops = record.evidence.get("hops", ())
        self.relays |= {name for name in hops if isinstance(name, str)} if isinstance(hops, list | tuple) else set()
        for row in record.rows:
            self.relays |= {hop.rpartition("@")[0] for hop in row.circuit.split(" > ") if "@" in hop}
            self.host(row.sip_server)
        for clock in record.clocks.values():
            self.host(clock.host)
        for end in (record.caller, record.callee):
            self.host(end.host)
        self.in_plan(record.plan)
        self.in_command(record.command)
        self.in_values(to_plain([record.path_details, record.evidence, record.load, record.instrument]))
        for text in (record.outcome_detail, *record.notes, *(row.outcome_detail for row in record.rows)):
            self.in_text(text)

    def in_plan(self, plan: Mapping[str, Any]) -> None:
        """Collect the names in the plan of a call, or of a study's calls."""
        for key, value in plan.items():
            for one in value if isinstance(value, list | tuple) else [value]:
                if isinstance(one, Mapping):
                    self.in_plan(one)
                elif not isinstance(one, str):
                    continue
                elif key in _RELAYS_ASKED_FOR:
                    self.relays |= {name.strip() for name in one.split(",") if not _is_place(name)}
                elif key == "sip_server":
                    self.host(one)
                else:
                    self._path(one)

    def in_command(self, command: Iterable[str]) -> None:
        """Collect hosts and files from a command line."""
        option = ""
        for word in command:
            name, equals, value = word.partition("=")
            if word.startswith("-") and not equals:
                option = word
                continue
            if equals and word.startswith("-"):
                option, word = name, value
            if option in _HOSTS_ASKED_FOR and "/" not in word.partition("://")[2] and not _is_place(word):
                self.host(word.rpartition("://")[2])
            self._path(word)
            option = ""

    def in_values(self, value: Any, key: str = "") -> None:
        """Collect names from JSON values."""
        if isinstance(value, Mapping):
            for name, inner in value.items():
                self.in_values(inner, str(name).lower())
        elif isinstance(value, list | tuple):
            for inner in value:
                self.in_values(inner, key)
        elif isinstance(value, str):
            if key in ("host", "hostname", "machine", "sip_server"):
                self.host(value)
            elif key in ("user", "username", "account"):
                self.people.add(value)
            self.in_text(value)

    def in_text(self, text: str) -> None:
        """Collect names that a text reveals by their form: users in paths and in SIP messages."""
        self.people |= {name for pattern in (_HOME, *_IN_SIP) for name in pattern.findall(text)}

    def in_study(self, text: str) -> None:
        """Collect the names in a study file."""
        try:
            self.in_plan(tomllib.loads(text))
        except (tomllib.TOMLDecodeError, RecursionError):
            return

    def host(self, name: str) -> None:
        """Collect a host name, with or without a port."""
        bare = name.partition(":")[0] if name.count(":") == 1 else name
        self.machines |= {bare, bare.partition(".")[0] if not bare.replace(".", "").isdecimal() else bare}

    def _path(self, text: str) -> None:
        if "/" in text and not text.startswith("-"):
            self.files |= {text, str(Path(text).parent), str(Path(text).absolute())} - {".", "/"}
            self.in_text(text)

    def settled(self) -> Names:
        """The names without generic words, each as one kind only."""
        relays = {name for name in self.relays if not _ENDS.fullmatch(name) and _is_identifying(name)}
        machines = {name for name in self.machines - relays if not _ENDS.fullmatch(name) and _is_identifying(name)}
        people = {name for name in self.people - relays - machines if _is_identifying(name)}
        return Names(relays, machines, people, {name for name in self.files if len(name) > 4})


def _is_identifying(name: str) -> bool:
    return bool(name) and name.lower() not in LOCAL and name.lower() not in _WORDS and not name.isdecimal()


@functools.cache
def _is_place(name: str) -> bool:
    from earwitness.geography import place

    try:
        place(name.strip())
    except EarwitnessError:
        return False
    return True
