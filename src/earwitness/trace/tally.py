"""Problems while they are gathered: of all pieces of a capture, each kind counted once, and never without end."""

from __future__ import annotations

from earwitness.trace.problem import CaptureProblem, ProblemKind

MOST_PLACES = 1000
"""Places of damage that are listed; a file may have a million."""


class Tally:
    """What was wrong so far, in the order in which it was met first. Mutable, of one reading."""

    def __init__(self) -> None:
        self._found: dict[tuple[ProblemKind, str, int | None], tuple[int, int | None]] = {}
        """How often, 0 for what is told place by place; and where first."""
        self._places = self._unlisted = 0

    def __len__(self) -> int:
        return len(self._found)

    def place(self, kind: ProblemKind, detail: str, offset: int | None = None) -> None:
        """One trouble at one place."""
        if self._places < MOST_PLACES:
            self._places += 1
            self._found.setdefault((kind, detail, offset), (0, offset))
        else:
            self._unlisted += 1

    def count(self, kind: ProblemKind, what: str, number: int, offset: int | None = None) -> None:
        """So many more of what is told as one: `<number> <what>`, with the place of the first."""
        before, first = self._found.get((kind, what, None), (0, offset))
        self._found[kind, what, None] = (before + number, first)

    def problems(self) -> tuple[CaptureProblem, ...]:
        """All of it as values."""
        found = [
            CaptureProblem(kind, f"{number} {text}" if number else text, offset)
            for (kind, text, _), (number, offset) in self._found.items()
        ]
        if self._unlisted:
            found.append(CaptureProblem(ProblemKind.CORRUPT, f"{self._unlisted} more places of damage, not listed"))
        return tuple(found)
