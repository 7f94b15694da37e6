"""Cache of the circuits kept for the next call, in a file that outlives the command that built them."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from earwitness.tor.select import CircuitRequest

if TYPE_CHECKING:
    from earwitness.tor.control import Circuit


@dataclass(frozen=True)
class CachedCircuit:
    """A circuit that was open when it was last used."""

    id: int
    fingerprints: tuple[str, ...]
    """Its relays, first hop first."""


class CircuitCache:
    """One circuit per caller and request. The seed is not part of the key, so calls with any seed share the circuit.

    Args:
        file: where the cache is stored; None: in memory, for as long as this object lives.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._here: dict[str, CachedCircuit] = {}

    def recall(self, caller: str, request: CircuitRequest) -> CachedCircuit | None:
        """The circuit last kept for this request, open or not; None if there is none."""
        return self._all().get(_key(caller, request))

    def remember(self, caller: str, request: CircuitRequest, circuit: Circuit) -> None:
        """Store this circuit in place of the one before."""
        self._here = {**self._all(), _key(caller, request): CachedCircuit(circuit.id, tuple(circuit.fingerprints))}
        if self._file is None:
            return
        self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = self._file.with_suffix(".draft")
        plain = {key: [kept.id, *kept.fingerprints] for key, kept in self._here.items()}
        draft.write_text(json.dumps(plain))
        draft.replace(self._file)

    def _all(self) -> dict[str, CachedCircuit]:
        if self._file is None:
            return self._here
        # A damaged file is treated as a missing one: a new circuit is built.
        with suppress(OSError, ValueError, TypeError):
            plain = dict(json.loads(self._file.read_text()))
            return {key: CachedCircuit(int(number), tuple(relays)) for key, (number, *relays) in plain.items()}
        return {}


def _key(caller: str, request: CircuitRequest) -> str:
    return json.dumps([caller, request.hops, request.guard, request.middle, request.exit])
