"""The media descriptions of a capture's SDP, found by the flow that they describe: by port, address and call."""

from __future__ import annotations

import ipaddress
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from earwitness.trace.encoding import Encoding
from earwitness.trace.link_layer import Flow
from earwitness.trace.problem import CaptureProblem, ProblemKind
from earwitness.trace.sdp import MediaDescription, SipMessage

MOST_AT_A_PORT = 256
"""Distinct descriptions considered per port: a port serves one call after another, and a flood must stay cheap."""
_MOST_TIMES = 64
_MOST_CALLS = 16
_MOST_ENDS = 8
_MOST_MEANINGS = 16
"""Different meanings of one payload type that are counted, of those that other ports give it."""
_ANSWER_NS = 1_000_000_000
"""Early media may come before the answer that describes it."""


@dataclass
class Description:
    """One distinct media description of a capture, when it was sent (ns), and in which calls (Call-IDs)."""

    section: MediaDescription
    places: frozenset[tuple[str, int]]
    """Addresses as flows write them, and ports; an address is empty if it cannot be compared: a name, none, or that of
    an old hold (0.0.0.0)."""
    times: list[int] = field(default_factory=list)
    calls: set[str] = field(default_factory=set)

    def in_force(self, time_ns: int) -> int:
        """The last time at or shortly after `time_ns` at which it was sent, else the first, negated: later is worse."""
        before = bisect_right(self.times, time_ns + _ANSWER_NS)
        return self.times[before - 1] if before else -self.times[0]

    def is_at(self, address: str, port: int) -> bool:
        """Whether it describes this end of a flow."""
        return (address, port) in self.places or ("", port) in self.places


@dataclass(frozen=True)
class Near:
    """The descriptions near a flow. `sure`: of its own ends, the likeliest first; `by_port`: of the same port at other
    addresses; `elsewhere`: all meanings of payload types in the capture, by the address that they are for, or none."""

    flow: Flow
    sure: Sequence[Description]
    by_port: Sequence[Description]
    elsewhere: dict[tuple[str, int], Counter[Encoding]]

    @property
    def ports(self) -> tuple[int, int]:
        """The flow's ports, that of the receiver first."""
        return self.flow.destination_port, self.flow.source_port

    def others(self, number: int) -> tuple[Encoding, ...]:
        """What a payload type means on other ports: of the flow's hosts first, the most frequent meaning first."""
        found: dict[Encoding, None] = {}
        for address in (self.flow.destination, self.flow.source, ""):
            counts = self.elsewhere.get((address, number))
            found.update(dict.fromkeys(one for one, _ in counts.most_common()) if counts else ())
        return tuple(found)


class Descriptions:
    """The distinct media descriptions in SIP messages."""

    def __init__(self, sip: Iterable[SipMessage]) -> None:
        self._at: dict[int, list[Description]] = {}
        self._in_call: dict[tuple[str, str], list[Description]] = {}
        self._elsewhere: dict[tuple[str, int], Counter[Encoding]] = {}
        self._left_out = 0
        self._gather(sip)

    def _gather(self, sip: Iterable[SipMessage]) -> None:
        by_value: dict[object, Description] = {}
        # Messages with the same SDP share one value.
        by_identity: dict[int, Description | None] = {}
        for message in sip:
            for section in message.media:
                if id(section) not in by_identity:
                    by_identity[id(section)] = self._kept(section, by_value)
                one = by_identity[id(section)]
                if one is None:
                    continue
                # Of too many times, the last is kept all the same: it may be the one in force.
                one.times[_MOST_TIMES - 1 :] = [message.time_ns]
                if message.call_id and message.call_id not in one.calls and len(one.calls) < _MOST_CALLS:
                    one.calls.add(message.call_id)
                    self._in_call.setdefault((message.call_id, section.media), []).append(one)
        for one in by_value.values():
            one.times.sort()
        self.sections = tuple(one.section for one in by_value.values())

    def _kept(self, section: MediaDescription, by_value: dict[object, Description]) -> Description | None:
        """The description with this content; None if its port has too many."""
        where = (section.media, section.address, section.port, section.payload_types, section.profile)
        key = (where, section.crypto, section.candidates, tuple(section.encodings.items()))
        if key in by_value:
            return by_value[key]
        one = Description(section, frozenset((comparable(address), port) for address, port in section.places))
        if len(self._at.setdefault(section.port, [])) >= MOST_AT_A_PORT:
            self._left_out += 1
            return None
        by_value[key] = one
        for port in {port for _, port in one.places}:
            here = self._at.setdefault(port, [])
            if len(here) < MOST_AT_A_PORT:
                here.append(one)
        for number, encoding in section.encodings.items():
            for address in {comparable(section.address), ""}:
                counts = self._elsewhere.setdefault((address, number), Counter())
                if encoding in counts or len(counts) < _MOST_MEANINGS:
                    counts[encoding] += 1
        return one

    @property
    def ports(self) -> set[int]:
        """The ports to which RTP is to be sent."""
        return set(self._at)

    def near(self, flow: Flow, time_ns: int) -> Near:
        """The descriptions that may be a flow's at a time, in order of preference.

        The receiver chooses the numbers (RFC 3264 5.1), so its description comes first. Behind NAT its address in SDP
        is not that in the packets, and perhaps neither is its port; if the sender's end is described, its call tells
        which description is the receiver's.
        """
        here = self._at.get(flow.destination_port, [])
        if flow.source_port != flow.destination_port:
            more = (
                one for one in self._at.get(flow.source_port, []) if not one.section.has_port(flow.destination_port)
            )
            here = [*here, *more]
        if not here:
            return Near(flow, (), (), self._elsewhere)
        received, sent = (flow.destination, flow.destination_port), (flow.source, flow.source_port)
        calls = {
            (call, one.section.media) for one in here if one.is_at(*received) or one.is_at(*sent) for call in one.calls
        }
        ranked: list[tuple[int, tuple[bool, int], Description]] = []
        for one in here:
            to_port = one.section.has_port(flow.destination_port)
            if one.is_at(*received):
                rank = 0
            elif to_port and any((call, one.section.media) in calls for call in one.calls):
                rank = 1
            elif one.is_at(*sent):
                rank = 2
            else:
                rank = 3 if to_port else 4
            ranked.append((rank, _by_time(one, time_ns), one))
        ranked.sort(key=lambda each: each[:2])
        sure = [one for rank, _, one in ranked if rank <= 2]
        beside = sorted(self._of_calls(sure), key=lambda one: _by_time(one, time_ns))
        return Near(flow, [*sure, *beside], [one for rank, _, one in ranked if rank > 2], self._elsewhere)

    def _of_calls(self, sure: Sequence[Description]) -> list[Description]:
        """The other end's descriptions in the calls of these, in media of the same kind."""
        found: dict[int, Description] = {}
        for known in sure[:_MOST_ENDS]:
            for call in known.calls:
                here = self._in_call[call, known.section.media][:_MOST_CALLS]
                found.update((id(one), one) for one in here)
        for known in sure:
            found.pop(id(known), None)
        return list(found.values())

    def problems(self) -> list[CaptureProblem]:
        """What was left out."""
        if not self._left_out:
            return []
        detail = f"{self._left_out} audio descriptions in SDP beyond {MOST_AT_A_PORT} for one port; skipped"
        return [CaptureProblem(ProblemKind.UNSUPPORTED, detail)]


def _by_time(described: Description, time_ns: int) -> tuple[bool, int]:
    time = described.in_force(time_ns)
    return time < 0, -time


def comparable(address: str) -> str:
    """An address of SDP as flows write it; empty if it cannot be compared."""
    try:
        known = ipaddress.ip_address(address)
    except ValueError:
        return ""
    return "" if known.is_unspecified else str(known)
