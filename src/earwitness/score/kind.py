"""The scorer interface: what was said and heard in one direction in, a figure out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from earwitness.arrays import Pcm
from earwitness.errors import EarwitnessError
from earwitness.trace.model import Trace

MOST = 1e12
"""Limit of a figure's magnitude."""


class ScorerRefused(EarwitnessError):
    """This pair of audio signals cannot be scored; `reason` says why."""

    def __init__(
        self, reason: str, remedy: str = "score 8 to 30 s of speech, as P.862 advises", scorer: str = "PESQ"
    ) -> None:
        super().__init__("score with", scorer, reason, remedy)
        self.reason = reason


@dataclass(frozen=True, eq=False, kw_only=True)
class Evidence:
    """One direction of a call as given to a scorer. For two sound files only the audio is known."""

    heard: Pcm
    """(m,) int16 at `sample_rate`: what the listener's phone played."""
    sample_rate: int
    reference: Pcm | None = None
    """(n,) int16 at `sample_rate`: what was said."""
    codec: str = ""
    """Its specification: `opus:24000`."""
    trace: Trace | None = None
    """The packets, with the times at which they were sent and arrived."""
    loss_ratio: float | None = None
    """Packets that never arrived, 0..1."""
    late_ratio: float | None = None
    """Packets that arrived too late to play, 0..1."""
    discarded_ratio: float | None = None
    """Packets that arrived but were not played, for the buffer was full or shortened, 0..1."""
    burst_ratio: float | None = None
    """BurstR of all three (G.107 3.5)."""
    concealed_ratio: float | None = None
    """Share of speech that was concealed, 0..1."""
    mouth_to_ear_ms: float | None = None


@dataclass(frozen=True, kw_only=True)
class ScorerKind:
    """A scorer by name, which is also the name of its figure."""

    name: str
    """A key of `scores` and the name of a column (`earwitness.options.NAME`); must not be an existing column of
    rows."""
    summary: str
    unit: str
    """Unit of its figure: `dB`, `MOS 1..5`."""
    heading: str
    """Short heading of its column in tables."""
    score: Callable[[Evidence], float]
    """Computes the figure. Raises `ScorerRefused` if this evidence has none."""
    digits: int = 2
    """Decimals in tables."""
    column: str = ""
    """Column of the row with its figure for every call; empty: it is computed only when requested by name."""

    @property
    def usage(self) -> str:
        """Its name: it has no options."""
        return self.name


def figure(kind: ScorerKind, evidence: Evidence) -> float:
    """The scorer's figure.

    Raises `EarwitnessError`: `ScorerRefused` if there is no figure for this evidence, another if the scorer itself
    failed.
    """
    try:
        value = float(kind.score(evidence))
    except EarwitnessError:
        raise
    except Exception as error:  # a foreign scorer may raise anything
        happened = f"{type(error).__name__}: {error}"
        raise EarwitnessError("scoring with", kind.name, happened, "report it to the scorer's authors") from error
    if not abs(value) <= MOST:
        raise ScorerRefused(f"its figure is {value}", "check the audio", kind.name)
    return value


def both_sounds(evidence: Evidence, scorer: str) -> tuple[Pcm, Pcm]:
    """The reference and what was heard. Raises `ScorerRefused` without a reference."""
    if evidence.reference is None:
        raise ScorerRefused("there is nothing to compare with", "give the speech that was said", scorer)
    return evidence.reference, evidence.heard
