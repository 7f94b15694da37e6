"""The answering side's hello to a caller, which validates every field."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field

from earwitness.remote.channel import Message, ProtocolError
from earwitness.untrusted import MOST_NS, name, whole

_MOST_VERSIONS = 20


@dataclass(frozen=True, kw_only=True)
class Hello:
    """The identity of the remote machine."""

    name: str
    place: str
    address: str
    """IPv4 address at which we reached it, as it sees it."""
    interface: str
    epoch_offset_ns: int
    """Offset of its call clock from its CLOCK_MONOTONIC."""
    versions: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def read(reply: Message) -> Hello:
        """Read a hello. Raises `ProtocolError` if it is malformed."""
        try:
            texts = {key: name(reply[key], what=key) for key in ("name", "place", "address", "interface")}
            if len(reply["versions"]) > _MOST_VERSIONS:
                raise ValueError("its versions")
            versions = {name(what): name(version) for what, version in reply["versions"].items()}
            ipaddress.IPv4Address(texts["address"])
            offset_ns = whole(reply["epoch_offset_ns"], -MOST_NS, MOST_NS, what="its clock")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ProtocolError(f"the other side's hello is malformed: {error!r:.200}") from error
        return Hello(**texts, epoch_offset_ns=offset_ns, versions=versions)
