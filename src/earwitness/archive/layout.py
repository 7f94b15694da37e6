"""Names of everything in a data set directory."""

from __future__ import annotations

import re
from pathlib import Path

from earwitness.errors import InputError

DATASET_FILE = "dataset.json"
CALLS = "calls"
STAGING = ".staging"
LOCK = ".lock"
INDEX_PARQUET = "calls.parquet"
INDEX_CSV = "calls.csv"
REPORT = "report.html"

RECORD = "record.json"
CAPTURES = {"caller": "caller.pcap", "callee": "callee.pcap"}
REFERENCE = "reference.wav"
TRUTH = "truth.parquet"

DIRECTIONS = ("to_callee", "to_caller")
"""The caller speaks; the callee speaks."""

SPEAKER = {"to_callee": "caller", "to_caller": "callee"}
LISTENER = {"to_callee": "callee", "to_caller": "caller"}

_CALL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,119}")


def trace_file(direction: str) -> str:
    """`to_callee.trace.parquet`."""
    return f"{direction}.trace.parquet"


def heard_file(direction: str) -> str:
    """`to_callee.wav`: what the listener of this direction heard."""
    return f"{direction}.wav"


def ledger_file(direction: str) -> str:
    """`to_callee.ledger.parquet`: the fate of every frame, and what filled every gap."""
    return f"{direction}.ledger.parquet"


def recording_file(end: str) -> str:
    """`caller-linphone.wav`: this end's own linphone recording."""
    return f"{end}-linphone.wav"


def tunnel_file(end: str) -> str:
    """`caller.ovpn`: the configuration of this end's tunnel; it contains no secrets."""
    return f"{end}.ovpn"


SOUNDS = frozenset({REFERENCE, *map(heard_file, DIRECTIONS), *map(recording_file, CAPTURES)})
"""Audio files of a call."""

TRACES = frozenset(map(trace_file, DIRECTIONS))
LEDGERS = frozenset(map(ledger_file, DIRECTIONS))
TUNNELS = frozenset(map(tunnel_file, CAPTURES))

CALL_FILES = frozenset({RECORD, TRUTH, *CAPTURES.values(), *SOUNDS, *TRACES, *LEDGERS, *TUNNELS})
"""Every file that a call's folder may have; other files in it are not part of the data set."""


def is_call_id(name: str) -> bool:
    """Whether a call can have this name: it must be valid as a folder name on every system."""
    return _CALL_ID.fullmatch(name) is not None


def check_call_id(call_id: str, directory: Path) -> str:
    """The call id, checked by `is_call_id`. Raises `InputError`."""
    if not is_call_id(call_id):
        raise InputError(
            "storing a call in", directory, f"{call_id!r} cannot be the name of a call", "use letters, digits and ._+-"
        )
    return call_id
