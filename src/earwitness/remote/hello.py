"""What the answering side says of itself when a caller comes; the caller believes none of it unseen."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field

from earwitness.remote.channel import Message, ProtocolError
from earwitness.untrusted import MOST_NS, name, whole

_MOST_VERSIONS = 20


@dataclass(frozen=True, kw_only=True)
class Hello:
    """Who the other machine is."""

    name: str
    place: str
    address: str
    """IPv4 address that we reached it by, as it sees it."""
    interface: str
    epoch_offset_ns: int
    """What its call clock is ahead of its CLOCK_MONOTONIC."""
    versions: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def read(reply: Message) -> Hello:
        """From what it said. Raises `ProtocolError` for what is none."""
        try:
            texts = {key: name(reply[key], what=key) for key in ("name", "place", "address", "interface")}
            if len(reply["versions"]) > _MOST_VERSIONS:
                raise ValueError("its versions")
            versions = {name(what): name(version) for what, version in reply["versions"].items()}
            ipaddress.IPv4Address(texts["address"])
            offset_ns = whole(reply["epoch_offset_ns"], -MOST_NS, MOST_NS, what="its clock")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ProtocolError(f"the other side does not say who it is: {error!r:.200}") from error
        return Hello(**texts, epoch_offset_ns=offset_ns, versions=versions)
