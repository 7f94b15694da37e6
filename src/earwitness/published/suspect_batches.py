"""Finds calls in the published tables that do not match their label, by comparing each batch with all others."""

from __future__ import annotations

import pandas as pd

from earwitness.published.methods import ends_completed
from earwitness.published.printed_numbers import NON_TOR

DISTURBED_JITTER_MS = 10.0
"""Mean jitter above which a Non-Tor call is doubtful: the median is 0.4 ms for these calls, over 25 ms for Tor."""

IMPLAUSIBLE_SHARE = 0.25
"""Share of a batch's scores above the best of all other batches of its codec that makes the batch doubtful."""

JITTER_REASON = f"mean jitter above {DISTURBED_JITTER_MS:g} ms, as over Tor"
SCORE_REASON = "scores above the best of every other place: not of this codec's recordings"


def doubtful_calls(ends: pd.DataFrame) -> pd.DataFrame:
    """Calls labelled Non-Tor that do not look like it: columns call and reason, one row per call.

    By jitter, per call; by score, per batch (codec, place, end), because a codec cannot sound better between two cities
    than at its best anywhere else, whatever the network does.
    """
    plain = ends[ends["condition"] == NON_TOR]
    worst = plain.groupby("call")["jitter_mean_ms"].max()
    reasons = {str(call): JITTER_REASON for call in worst[worst > DISTURBED_JITTER_MS].index}
    scored = ends_completed(plain)
    for (codec, _), group in scored.groupby(["codec", "end"]):
        for place, batch in group.groupby("place"):
            others = group[group["place"] != place]["mos_lqo"]
            if len(others) and (batch["mos_lqo"] > others.max()).mean() > IMPLAUSIBLE_SHARE:
                members = plain[(plain["codec"] == codec) & (plain["place"] == place)]["call"]
                reasons.update({str(call): SCORE_REASON for call in members if call not in reasons})
    return pd.DataFrame({"call": list(reasons), "reason": list(reasons.values())}, dtype=object)


def doubtful_batches(ends: pd.DataFrame) -> pd.DataFrame:
    """`doubtful_calls` by codec and place: how many of how many, from which iteration, and their medians next to those
    of the rest of the batch (jitter ms, MOS-LQO; NaN if there is no rest).
    """
    plain = ends[ends["condition"] == NON_TOR].merge(doubtful_calls(ends), on="call", how="left")
    records = []
    for (codec, place), group in plain.groupby(["codec", "place"], sort=True):
        bad = group["reason"].notna()
        if not bad.any():
            continue
        records.append(
            {
                "codec": codec,
                "place": place,
                "reason": "; ".join(sorted(group["reason"].dropna().unique())),
                "calls": group["call"].nunique(),
                "doubtful": group[bad]["call"].nunique(),
                "first_iteration": int(group[bad]["iteration"].min()),
                "jitter_mean_ms_doubtful": group[bad]["jitter_mean_ms"].median(),
                "jitter_mean_ms_others": group[~bad]["jitter_mean_ms"].median(),
                "mos_lqo_doubtful": ends_completed(group[bad])["mos_lqo"].median(),
                "mos_lqo_others": ends_completed(group[~bad])["mos_lqo"].median(),
            }
        )
    return pd.DataFrame(records)


def without_doubtful(ends: pd.DataFrame) -> pd.DataFrame:
    """The ends without those of `doubtful_calls`."""
    return ends[~ends["call"].isin(doubtful_calls(ends)["call"])]
