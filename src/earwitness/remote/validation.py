"""Validation of what processes on the remote machine send: untrusted until it has passed here.

Each function takes a received value and returns its valid content, or raises `UntrustedValue`. Pure.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from earwitness.path.probe import LIMIT_BYTES, LIMIT_S, Throughput
from earwitness.untrusted import UntrustedValue, fields, name, number, shown, text, whole

_ONION = re.compile(r"[a-z2-7]{56}\.onion")
_COUNTERS = ("sent", "received", "dropped_queue_full", "dropped_no_stream")
_MOST_KINDS = 32
_LONGEST_S = 60.0
_SHORTEST_S = 1e-6


def forwarder_event(said: Mapping[str, Any], flows: Collection[str]) -> dict[str, Any]:
    """Read an event of a callee's forwarder that carries these flows."""

    def flow(value: object) -> str:
        if (known := name(value, what="flow")) not in flows:
            raise UntrustedValue(f"flow: this path has no {shown(known)}")
        return known

    readers: Mapping[str, Mapping[str, Callable[[Any], Any]]] = {
        "listening": {"address": name, "port": lambda value: whole(value, 1, 65535, what="port")},
        "accepted": {"flow": flow, "peer": name},
        "closed": {"flow": flow, "reason": text},
        "stranger": {"peer": name, "reason": text},
        "failed": {"reason": text},
        "carried": {"bytes": _bytes, "seconds": _seconds},
        "pinged": {},
        "statistics": {
            "flows": lambda value: {flow(key): _counters(one) for key, one in fields(value).items()},
            "ignored": _ignored,
            "strangers": whole,
        },
    }
    event = said["event"]
    if event not in readers:
        raise UntrustedValue(f"{shown(event)} is not an event of a callee's forwarder")
    given = readers[event]
    if missing := [key for key in given if key not in said]:
        raise UntrustedValue(f"event {event} lacks {missing[0]}")
    return {"event": event, **{key: read(said[key]) for key, read in given.items()}}


def log_event(said: Mapping[str, Any]) -> dict[str, Any]:
    """Read a line of a program's log."""
    return {"event": "log", "line": text(said.get("line"), what="a line")}


def throughput(value: object) -> Throughput:
    """Read the result of a transfer: bytes and seconds."""
    given = fields(value, what="a transfer")
    return Throughput(_bytes(given.get("bytes")), _seconds(given.get("seconds")))


def is_onion_address(address: str) -> bool:
    """Whether it is a version 3 onion address with a valid checksum (rend-spec-v3 6)."""
    if not _ONION.fullmatch(address):
        return False
    raw = base64.b32decode(address.removesuffix(".onion").upper())
    key, checksum, version = raw[:32], raw[32:34], raw[34:]
    return version == b"\x03" and checksum == hashlib.sha3_256(b".onion checksum" + key + version).digest()[:2]


def _bytes(value: object) -> int:
    return whole(value, 0, 8 * LIMIT_BYTES, what="bytes")


def _seconds(value: object) -> float:
    seconds = number(value, 0.0, LIMIT_S + _LONGEST_S, what="seconds")
    return seconds if seconds > _SHORTEST_S else 0.0


def _counters(value: object) -> dict[str, int]:
    given = fields(value, what="counters")
    return {key: whole(given.get(key), what=key) for key in _COUNTERS}


def _ignored(value: object) -> dict[str, int]:
    given = fields(value, what="ignored")
    if len(given) > _MOST_KINDS:
        raise UntrustedValue(f"ignored: {len(given)} kinds are too many")
    return {name(kind): whole(count) for kind, count in given.items()}
