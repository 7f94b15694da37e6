"""Problems while they are gathered: of all pieces of a capture, each kind counted once, and never without end."""

from __future__ import annotations

from earwitness.trace.problem import CaptureProblem, ProblemKind

MOST_PLACES = 1000
"""Places of damage that are listed; a file may have a million."""


class Tally:
    """What was wrong so far, in the order in which it was met first. Mutable, of one reading."""

    def __init__(self) -> None:
        self._counted: dict[tuple[ProblemKind, str], tuple[int | None, int | None]] = {}
        self._places = self._unlisted = 0

    def __len__(self) -> int:
        return len(self._counted)

    def place(self, kind: ProblemKind, detail: str, offset: int | None = None) -> None:
        """One trouble at one place."""
        if self._places < MOST_PLACES:
            self._places += 1
            self._counted.setdefault((kind, detail), (None, offset))
        else:
            self._unlisted += 1

    def count(self, kind: ProblemKind, what: str, number: int, offset: int | None = None) -> None:
        """So many more of what is told as one: `<number> <what>`, with the place of the first."""
        before, first = self._counted.get((kind, what), (0, offset))
        self._counted[kind, what] = ((before or 0) + number, first)

    def problems(self) -> tuple[CaptureProblem, ...]:
        """All of it as values."""
        found = [
            CaptureProblem(kind, text if number is None else f"{number} {text}", offset)
            for (kind, text), (number, offset) in self._counted.items()
        ]
        if self._unlisted:
            found.append(CaptureProblem(ProblemKind.CORRUPT, f"{self._unlisted} more places of damage, not listed"))
        return tuple(found)
