"""What a scorer is: what was said and heard of one direction in, a figure out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from earwitness.arrays import Pcm
from earwitness.errors import EarwitnessError
from earwitness.trace.model import Trace

MOST = 1e12
"""Above and below 0; no figure is further from it."""


class ScorerRefused(EarwitnessError):
    """This pair of sounds cannot be scored; `reason` says why."""

    def __init__(
        self, reason: str, remedy: str = "score 8 to 30 s of speech, as P.862 advises", scorer: str = "PESQ"
    ) -> None:
        super().__init__("score with", scorer, reason, remedy)
        self.reason = reason


@dataclass(frozen=True, eq=False, kw_only=True)
class Evidence:
    """One direction of a call as a scorer is given it. Of two sound files nothing but the sound is known."""

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
    """Packets that came too late to be played, 0..1."""
    burst_ratio: float | None = None
    """BurstR of both (G.107 3.5)."""
    concealed_ratio: float | None = None
    """Speech that was made up by concealment, 0..1."""
    mouth_to_ear_ms: float | None = None


@dataclass(frozen=True, kw_only=True)
class ScorerKind:
    """A scorer by name, which is the name of its figure too."""

    name: str
    """A key of `scores` and the name of a column (`earwitness.options.NAME`); none that a row has already."""
    summary: str
    unit: str
    """Of its figure: `dB`, `MOS 1..5`."""
    heading: str
    """Of its column in tables, short."""
    score: Callable[[Evidence], float]
    """Raises `ScorerRefused` where it has no figure for this evidence."""
    digits: int = 2
    """Decimals in tables."""
    column: str = ""
    """Column of the row that has its figure for every call; empty: it is measured where it is asked for by name."""

    @property
    def usage(self) -> str:
        """Its name: it has no options."""
        return self.name


def figure(kind: ScorerKind, evidence: Evidence) -> float:
    """The scorer's figure.

    Raises `EarwitnessError`, which is `ScorerRefused` where the scorer has none for this, and another where the scorer
    itself is at fault.
    """
    try:
        value = float(kind.score(evidence))
    except EarwitnessError:
        raise
    except Exception as error:  # whatever a scorer does that is not ours
        happened = f"{type(error).__name__}: {error}"
        raise EarwitnessError("scoring with", kind.name, happened, "tell the makers of the scorer") from error
    if not abs(value) <= MOST:
        raise ScorerRefused(f"its figure is {value}", "look at the sound", kind.name)
    return value


def both_sounds(evidence: Evidence, scorer: str) -> tuple[Pcm, Pcm]:
    """The reference and what was heard. Raises `ScorerRefused` where there is no reference."""
    if evidence.reference is None:
        raise ScorerRefused("there is nothing to compare with", "give the speech that was said", scorer)
    return evidence.reference, evidence.heard
