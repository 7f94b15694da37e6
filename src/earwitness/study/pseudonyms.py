"""Relays, addresses and machines under other names: keyed, so nobody without the key can tell, and consistent.

A pseudonym is HMAC-SHA-256 of the name under a key that stays with the data set's owner (RFC 2104; truncated as RFC
2104 section 5 permits). The same relay has the same pseudonym in every file of a bundle, and in every bundle made with
the same key. Cities and countries stay: they are what a study is about.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import Any

_IPV4 = re.compile(r"(?<![\d.])(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?![\d.])")
_IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f:]{2,39}(?![\w:])")
"""What might be one; a time of day might."""
_FINGERPRINT = re.compile(r"(?<![0-9A-Za-z])([0-9A-Fa-f]{40})(?![0-9A-Za-z])(?:([~=])(\w{1,19}))?")
"""With the nickname that control-spec's LongName has after it."""
_ONION = re.compile(r"\b[a-z2-7]{56}\.onion\b")
_PATH = re.compile(r"(?:/[\w.+@-]+){2,}")
_SHORTEST_NAME = 3

VERBATIM = ("versions", "started_at", "record_version", "milestones", "listening")
"""Parts of a record without names; a version of four numbers looks like an address."""


class Pseudonyms:
    """Names replaced by pseudonyms, in any text."""

    def __init__(self, key: bytes, relays: Iterable[str] = (), machines: Iterable[str] = ()) -> None:
        """`relays`: nicknames; `machines`: host names. Addresses and fingerprints are known by their form."""
        self._key = key
        names = {name: f"relay-{self._digest(name, 10)}" for name in relays if len(name) >= _SHORTEST_NAME}
        names |= {name: f"machine-{self._digest(name, 10)}" for name in machines if len(name) >= _SHORTEST_NAME}
        self._names = names
        longest_first = sorted(map(re.escape, names), key=len, reverse=True)
        self._name = re.compile(rf"(?<![\w-])(?:{'|'.join(longest_first)})(?![\w-])") if names else None

    def text(self, text: str) -> str:
        """The text with every name replaced; the directories of file names are dropped."""
        text = _PATH.sub(lambda match: match[0].rpartition("/")[2], text)
        text = _ONION.sub(lambda match: f"{self._digest(match[0], 16)}.onion", text)
        text = _FINGERPRINT.sub(self._long_name, text)
        text = _IPV6.sub(self._ipv6, text)
        text = _IPV4.sub(lambda match: self._address(match[0]), text)
        return self._name.sub(lambda match: self._names[match[0]], text) if self._name else text

    def plain(self, value: Any) -> Any:
        """JSON values with every string replaced, keys too."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(key): inner if key in VERBATIM else self.plain(inner) for key, inner in value.items()}
        return [self.plain(inner) for inner in value] if isinstance(value, list) else value

    def _long_name(self, match: re.Match[str]) -> str:
        fingerprint = self._digest(match[1].upper(), 40).upper()
        return f"{fingerprint}{match[2]}relay-{self._digest(match[3], 10)}" if match[3] else fingerprint

    def _ipv6(self, match: re.Match[str]) -> str:
        try:
            return self._address(str(ipaddress.IPv6Address(match[0])))
        except ValueError:
            return match[0]

    def _address(self, address: str) -> str:
        """An address of the documentation range 2001:db8::/32 (RFC 3849), whatever the kind."""
        if address in ("127.0.0.1", "0.0.0.0", "::1"):
            return address
        digits = self._digest(address, 24)
        return "2001:db8:" + ":".join(digits[start : start + 4] for start in range(0, 24, 4))

    def _digest(self, name: str, digits: int) -> str:
        return hmac.new(self._key, name.encode(), hashlib.sha256).hexdigest()[:digits]
