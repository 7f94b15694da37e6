"""Blame: which cause took how much of a call's MOS, by replaying the call with one cause after the other put back.

From the speech itself (nothing lost) to what was heard, one cause a step: codec, loss, late discard, delay adaptation,
and PESQ's own misalignment. Each part is the difference of two neighbouring replays, so the parts sum to the whole.
"""

from __future__ import annotations
