"""Collects the problems of a capture while its pieces are read: each kind is counted once, and the list is bounded."""

from __future__ import annotations

from earwitness.trace.problem import CaptureProblem, ProblemKind

MOST_PLACES = 1000
"""Damaged places to list; a file may have a million."""


class Tally:
    """The problems so far, in order of first appearance. Mutable; one instance per file read."""

    def __init__(self) -> None:
        self._found: dict[tuple[ProblemKind, str, int | None], tuple[int, int | None]] = {}
        """The count (0 for problems listed place by place), and the first offset."""
        self._places = self._unlisted = 0

    def __len__(self) -> int:
        return len(self._found)

    def place(self, kind: ProblemKind, detail: str, offset: int | None = None) -> None:
        """Record one problem at one place."""
        if self._places < MOST_PLACES:
            self._places += 1
            self._found.setdefault((kind, detail, offset), (0, offset))
        else:
            self._unlisted += 1

    def count(self, kind: ProblemKind, what: str, number: int, offset: int | None = None) -> None:
        """Add `number` to a counted problem, reported as `<number> <what>` with the offset of the first."""
        before, first = self._found.get((kind, what, None), (0, offset))
        self._found[kind, what, None] = (before + number, first)

    def problems(self) -> tuple[CaptureProblem, ...]:
        """All problems as values."""
        found = [
            CaptureProblem(kind, f"{number} {text}" if number else text, offset)
            for (kind, text, _), (number, offset) in self._found.items()
        ]
        if self._unlisted:
            found.append(CaptureProblem(ProblemKind.CORRUPT, f"{self._unlisted} more damaged places, not listed"))
        return tuple(found)
