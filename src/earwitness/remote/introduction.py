"""What the answering side says of itself when a caller comes; the caller believes none of it unseen."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field

from earwitness.remote.channel import Message, ProtocolError

_LARGEST_OFFSET_NS = 2**62
"""Twice that would not fit the 64 bits of the times in a trace."""


@dataclass(frozen=True, kw_only=True)
class Introduction:
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
    def read(told: Message) -> Introduction:
        """From what it said. Raises `ProtocolError` for what is none."""
        try:
            texts = {key: str(told[key]) for key in ("name", "place", "address", "interface")}
            versions = {str(name): str(version) for name, version in told["versions"].items()}
            ipaddress.IPv4Address(texts["address"])
            offset_ns = told["epoch_offset_ns"]
            if type(offset_ns) is not int or abs(offset_ns) > _LARGEST_OFFSET_NS:
                raise ValueError("its clock")
            if not all(text.isprintable() for text in (*texts.values(), *versions, *versions.values())):
                raise ValueError("a name")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ProtocolError(f"the other side does not say who it is: {error!r}") from error
        return Introduction(**texts, epoch_offset_ns=offset_ns, versions=versions)
