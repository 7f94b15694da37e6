"""The precision stopping rule: stop when the confidence interval of every paired difference is narrow enough.

Stopping at an interval width, rather than at significance, keeps the estimate and its interval asymptotically valid
(Chow & Robbins, "On the asymptotic theory of fixed-width sequential confidence intervals", Ann. Math. Statist. 36,
1965), given a minimum sample size, which is the rule's `least_repeats`.
"""

from __future__ import annotations

import pandas as pd

from earwitness.analysis.paired import compare
from earwitness.errors import InputError
from earwitness.study.model import Study


def enough(study: Study, rows: pd.DataFrame, whole_repeats: int) -> str | None:
    """Why the study may stop, or None. `rows`: `Dataset.rows()`; repeats after `whole_repeats` are ignored."""
    stop = study.stop
    repeat = pd.to_numeric(rows["block"].fillna("").str.partition(".")[0], errors="coerce")
    own = rows[(rows["study"] == study.name) & (repeat <= whole_repeats)]
    widths: list[float] = []
    for axis in study.design.compare:
        try:
            found = compare(own, axis, [stop.measure])
        except InputError:
            return None
        widths += [(one.high - one.low) / 2 for one in found]
    if not widths or stop.half_width is None or not all(width <= stop.half_width for width in widths):
        return None
    return f"every paired difference in {stop.measure} is known to ±{max(widths):.3g} after {whole_repeats} repeats"
