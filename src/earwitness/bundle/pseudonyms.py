"""Keyed pseudonyms for relays, addresses, machines, people and files: unresolvable without the key.

A pseudonym is HMAC-SHA-256 of the name under a key that stays with the data set's owner (RFC 2104; truncated as RFC
2104 section 5 permits). The same relay has the same pseudonym in every file of a bundle, and in every bundle made with
the same key. Cities and countries are kept, because studies are about them.

Names collected from fields (`earwitness.bundle.names`) are replaced wherever they occur; addresses, fingerprints, onion
names, SIP and file addresses, paths and dotted host names are recognised by their form.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

from earwitness.archive.layout import CALL_FILES

_IPV4 = re.compile(r"(?<![\d.])(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?!\d|\.\d)")
_MAC = re.compile(r"(?<![\w:])(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}(?![\w:])")
_IPV6 = re.compile(r"(?:(?<![\w:.])|(?<=[A-Za-z]:))[0-9A-Fa-f:]{2,39}(?![\w:])")
"""Candidates; a time of day matches too."""
_FINGERPRINT = re.compile(r"(?<![0-9A-Za-z])([0-9A-Fa-f]{40})(?![0-9A-Za-z])(?:([~=])(\w{1,19}))?")
"""With the nickname that follows it in control-spec's LongName."""
_ONION = re.compile(r"(?<![0-9A-Za-z])([a-z2-7]{56})(\.onion)?(?![0-9A-Za-z])", re.IGNORECASE)
_ACCOUNT = re.compile(r"(?<![\w.+-])([\w.+-]{1,64})@((?:[\w-]+\.)*[\w-]+)")
"""user@host, of a SIP URI (RFC 3261 19.1) or of mail."""
_URL = re.compile(r"\b(?:https?|ftp|file|tls|tcp|udp|ssh)://[^\s\"'<>]+")
_QUOTED_PATH = re.compile(r"""(["'])(?:file://)?(~?/[^"'\n]+)\1""")
_PATH = re.compile(r"""(?<![\w.\\/>~])(?:~[\w.-]*|\.{1,2})?/[^\s"'<>|;:,()\[\]{}]+""")
_FILES = frozenset(
    "pcap pcapng cap wav flac ogg mp3 parquet csv json toml html py pyc so log txt sqlite ovpn pem key"  # noqa: SIM905
    " lock gz tgz md pdf png conf cfg sh".split()
)
"""Suffixes of file names, as opposed to host names."""
_BELOW = r"""(?:/[^\s"'<>|;:,()\[\]{}]*)?"""
_RELATIVE = re.compile(rf"(?<![\w./])(?:[\w.+@-]+/)+[\w.+@-]+\.(?:{'|'.join(sorted(_FILES))})\b")
_HOST = re.compile(r"(?<![\w@.-])(?:[A-Za-z0-9](?:[\w-]{0,62})\.)+([a-z]{2,24}|[A-Z]{2,24})(?![\w-])(?!\.\w)")
_VERSION = re.compile(r"v?\d+(?:\.\d+)*(?:-\d+)*(?:[-.+~]?(?:alpha|beta|rc|dev|post|(?:a|b)(?=\d))[-.]?\d*)*")
_OURS = re.compile(r"(?:/earwitness|/lib/python[\d.]*)/(?:[\w.-]+/)*[\w.-]+\.py$")
"""A program file in a traceback; its name reveals nothing."""

_SHORTEST_NAME = 3
KEPT = "this machine"
LOCAL = frozenset({"", KEPT, "caller", "callee", "server", "lab", "localhost", "127.0.0.1", "0.0.0.0", "::1"})
"""Names of ends and of the lab, which identify nobody."""

_HOSTS = frozenset({"host", "hostname", "machine", "sip_server", "peer", "address", "remote", "local", "gateway"})
_ACCOUNTS = frozenset({"user", "username", "account", "login", "realm"})
_SECRETS = frozenset({"password", "secret", "token", "nonce", "cnonce", "response", "private_key"})
_PATHS = frozenset(
    {"speech", "sip_accounts", "source_capture", "source_recording", "folder", "file", "directory", "path_of"}
)


class Pseudonyms:
    """Replaces names by pseudonyms in any text."""

    def __init__(
        self,
        key: bytes,
        relays: Iterable[str] = (),
        machines: Iterable[str] = (),
        people: Iterable[str] = (),
        files: Iterable[str] = (),
    ) -> None:
        """`relays`: nicknames; `machines`: host names; `people`: users, accounts; `files`: paths as written.

        Addresses and fingerprints are recognised by their form.
        """
        self._key = key
        names = {name: f"user-{self._digest(name, 10)}" for name in people}
        names |= {name: f"machine-{self._digest(name, 10)}" for name in machines}
        names |= {name: f"relay-{self._digest(name, 10)}" for name in relays}
        self._names = {name: other for name, other in names.items() if len(name) >= _SHORTEST_NAME}
        self._name = _any_of(self._names)
        self._file = _any_of({name for name in files if len(name) >= _SHORTEST_NAME}, _BELOW)

    def text(self, text: str) -> str:
        """The text with every name replaced; paths are reduced to the kind of file."""
        if self._file:
            text = self._file.sub(lambda match: self.file(match[0]), text)
        text = _QUOTED_PATH.sub(lambda match: f"{match[1]}{self.file(match[2])}{match[1]}", text)
        text = _URL.sub(self._url, text)
        text = _ACCOUNT.sub(lambda match: f"{self.account(match[1])}@{self._bare(match[2])}", text)
        text = _PATH.sub(lambda match: self.file(match[0]), text)
        text = _RELATIVE.sub(lambda match: self.file(match[0]), text)
        text = _ONION.sub(lambda match: f"{self._digest(match[1].lower(), 16)}{match[2] or ''}", text)
        text = _FINGERPRINT.sub(self._long_name, text)
        text = _MAC.sub(lambda match: f"device-{self._digest(match[0].lower(), 10)}", text)
        text = _IPV6.sub(self._ipv6, text)
        text = _IPV4.sub(lambda match: self._address(match[0]), text)
        text = _HOST.sub(self._dotted, text)
        return self._name.sub(lambda match: self._names[match[0]], text) if self._name else text

    def plain(self, value: Any, key: str = "") -> Any:
        """JSON values with every string replaced, including keys; a value's key may determine its kind."""
        if isinstance(value, str):
            return self._keyed(value, key)
        if isinstance(value, Mapping):
            return {self.text(str(name)): self.plain(inner, str(name)) for name, inner in value.items()}
        return [self.plain(inner, key) for inner in value] if isinstance(value, list | tuple) else value

    def json(self, text: str) -> str:
        """The same for JSON text; other text as `text`."""
        try:
            return json.dumps(self.plain(json.loads(text)))
        except (ValueError, RecursionError):
            return self.text(text)

    # -- a single name of known kind ----------------------------------------------------------------------

    def machine(self, name: str) -> str:
        """A host name or an address, with or without a port; an existing pseudonym is kept."""
        host, port = _without_port(name)
        if host.lower() in LOCAL or re.fullmatch(r"(?:machine|relay|host)-[0-9a-f]{10}", host):
            return name
        known = self.text(host)
        return (known if known != host else f"machine-{self._digest(host, 10)}") + port

    def relay(self, nickname: str) -> str:
        """A relay's nickname."""
        return f"relay-{self._digest(nickname, 10)}" if nickname else ""

    def account(self, name: str) -> str:
        """A user or account; the lab's own ends are kept."""
        if name.lower() in LOCAL or re.fullmatch(r"user-[0-9a-f]{10}", name):
            return name
        return self._names.get(name) or f"user-{self._digest(name, 10)}"

    def address(self, address: str) -> str:
        """An IP address."""
        found = self.text(address)
        return found if found != address or address in LOCAL else self.machine(address)

    def fingerprint(self, fingerprint: str) -> str:
        """A relay's identity."""
        return self._digest(fingerprint.upper(), 40).upper() if fingerprint else ""

    def file(self, path: str) -> str:
        """A path, reduced to its kind of file; files of the layout and of programs keep their names."""
        name = PurePosixPath(path).name
        if name in CALL_FILES or name == "earwitness" or _OURS.search(path):
            return name
        suffix = PurePosixPath(path).suffix.lower().removeprefix(".")
        return f"file-{self._digest(path, 10)}" + (f".{suffix}" if suffix in _FILES else "")

    def version(self, version: str) -> str:
        """A version number, without a builder's suffix; an address is not a version."""
        found = _VERSION.match(version)
        number = found[0] if found else ""
        return "" if _IPV4.fullmatch(number) and not number.startswith("0.") else number

    def clock(self, name: str) -> str:
        """The name of a clock, which may contain a capture's path."""
        return name if name in ("", "call", "caller", "callee") else f"clock-{self._digest(name, 10)}"

    def call_id(self, call_id: str) -> str:
        """A call id, consistently; replaced only if it contains a name."""
        holds_a_name = self.text(call_id) != call_id or any(name in call_id for name in self._names)
        return f"call-{self._digest(call_id, 10)}" if holds_a_name else call_id

    # -- internal ----------------------------------------------------------------------------------------

    def _keyed(self, value: str, key: str) -> str:
        key = key.lower()
        if key in _SECRETS:
            return ""
        if key in _HOSTS:
            return self.machine(value)
        if key in _ACCOUNTS:
            return self.account(value)
        if key in _PATHS and "/" in value:
            return self.file(value)
        return self.text(value)

    def _url(self, match: re.Match[str]) -> str:
        scheme, _, rest = match[0].partition("://")
        if scheme == "file":
            return self.file(rest)
        host = rest.rpartition("@")[2].partition("/")[0]
        return f"{scheme}://{self._bare(host)}"

    def _bare(self, host: str) -> str:
        """A host within a text; addresses and dotted names are handled later."""
        return host if "." in host or host.count(":") > 1 else self.machine(host)

    def _dotted(self, match: re.Match[str]) -> str:
        name = match[0]
        if match[1].lower() in _FILES | {"onion"} or name.startswith("earwitness."):
            return name
        return f"host-{self._digest(name.lower(), 10)}"

    def _long_name(self, match: re.Match[str]) -> str:
        fingerprint = self.fingerprint(match[1])
        if not match[3]:
            return fingerprint
        return f"{fingerprint}{match[2]}{self.relay(match[3])}"

    def _ipv6(self, match: re.Match[str]) -> str:
        try:
            return self._address(str(ipaddress.IPv6Address(match[0])))
        except ValueError:
            return match[0]

    def _address(self, address: str) -> str:
        """An address of the documentation range 2001:db8::/32 (RFC 3849), whatever the kind."""
        if address in LOCAL:
            return address
        digits = self._digest(address, 24)
        return "2001:db8:" + ":".join(digits[start : start + 4] for start in range(0, 24, 4))

    def _digest(self, name: str, digits: int) -> str:
        return hmac.new(self._key, name.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:digits]


def _any_of(names: Iterable[str], behind: str = "") -> re.Pattern[str] | None:
    """What finds any of the names as a word, the longest first, and what may follow it."""
    longest_first = sorted(map(re.escape, names), key=len, reverse=True)
    return re.compile(rf"(?<!\w)(?:{'|'.join(longest_first)})(?!\w){behind}") if longest_first else None


def _without_port(name: str) -> tuple[str, str]:
    """Host and `:port`, of `host`, `host:port` or `[address]:port`."""
    found = re.fullmatch(r"(\[[^\]]*\]|[^:]*)(:\d{1,5})", name)
    return (found[1], found[2]) if found else (name, "")
