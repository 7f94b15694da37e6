"""How the study computed each of its numbers, reproduced exactly, and how to compute the number without its faults.

Each method takes the ends of one condition (the tidy frame of `published.tidy`) and the number's argument.
`as_published` returns the text in the study's own precision, including its faults, which are named in `why`; `right`
returns the corrected statistic and the columns it uses, for a bootstrap.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from earwitness.analysis.statistics import correlate, quartiles, within_iqr
from earwitness.arrays import F64
from earwitness.published.calls_csv import CODECS

Statistic = Callable[..., float]


@dataclass(frozen=True)
class Right:
    """A corrected number: a statistic of `columns` of the selected rows, and its definition."""

    rows: pd.DataFrame
    columns: tuple[str, ...]
    statistic: Statistic
    text: Callable[[float], str]
    definition: str
    interval: bool = True
    """False for a count, which describes the sample and not what other places would give."""


@dataclass(frozen=True)
class Method:
    """A number's two computations. `right` is None if there is nothing to correct."""

    as_published: Callable[[pd.DataFrame, str], str]
    right: Callable[[pd.DataFrame, str], Right] | None
    why: str
    needs: str
    """What must have been measured for the number to be computable, in words for the table."""
    needed: tuple[str, ...]
    """The same as columns of the frame."""


def count(value: float) -> str:
    """`10,589`."""
    return f"{round(value):,}"


def ratio_text(value: float) -> str:
    """A ratio as `82.22 %`."""
    return f"{100 * value:.2f} %"


def mos(value: float) -> str:
    """`3.51`."""
    return f"{value:.2f}"


def milliseconds_text(value: float) -> str:
    """`0.403 ms`."""
    return f"{value:.3f} ms"


def ends_scored(ends: pd.DataFrame) -> pd.DataFrame:
    """Both ends, zeros kept: every end with a score, including failed ones (0.00), as in the study's CDF."""
    return ends[ends["mos_lqo"].notna()]


def ends_completed(ends: pd.DataFrame) -> pd.DataFrame:
    """Both ends, without failed scores: PESQ gives no score below 1.0, so 0.00 is an outcome and not a quality."""
    return ends[ends["mos_lqo"] > 0]


def codec_as_published(ends: pd.DataFrame, codec: str) -> F64:
    """The scores that the study's codec table was computed from.

    Both ends' scores, stacked, were assigned to a frame that already had one row per call; pandas aligns on the index,
    so only the first half, the callers', was kept. Then zeros were dropped.
    """
    chosen = ends[(ends["codec"] == CODECS[codec]) & (ends["end"] == "caller") & (ends["mos_lqo"] > 0)]
    return chosen["mos_lqo"].to_numpy(dtype=float)


def _share_at_least_3(scores: F64) -> float:
    return float(np.mean(scores >= 3.0)) if len(scores) else np.nan


def _share_above_3(scores: F64) -> float:
    return float(np.mean(scores > 3.0)) if len(scores) else np.nan


def _quartile(position: int) -> Statistic:
    return lambda values: quartiles(values)[position]


def _mean(values: F64) -> float:
    return float(np.mean(values)) if len(values) else np.nan


def _pesq_right(statistic: Callable[[str], Statistic], text: Callable[[float], str]) -> Callable[..., Right]:
    return lambda ends, argument: Right(
        ends_completed(ends), ("mos_lqo",), statistic(argument), text, "both ends, failed scores (0.00) left out"
    )


def _codec_right(statistic: Callable[[str], Statistic], text: Callable[[float], str]) -> Callable[..., Right]:
    def right(ends: pd.DataFrame, argument: str) -> Right:
        codec = CODECS[argument.split()[0]]
        rows = ends_completed(ends[ends["codec"] == codec])
        return Right(
            rows,
            ("mos_lqo",),
            statistic(argument),
            text,
            "both ends, failed scores left out",
            interval=text is not count,
        )

    return right


def _kept(ends: pd.DataFrame) -> F64:
    measured = ends["jitter_mean_ms"].dropna().to_numpy(dtype=float)
    return measured[within_iqr(measured, 3.0)]


def _jitter_right(statistic: Callable[[str], Statistic], text: Callable[[float], str]) -> Callable[..., Right]:
    return lambda ends, argument: Right(
        ends[ends["jitter_mean_ms"].notna()],
        ("jitter_mean_ms",),
        statistic(argument),
        text,
        "every end measured, no cut",
    )


def _pairs(ends: pd.DataFrame) -> pd.DataFrame:
    """The study's pairs: calls with a nonzero score and jitter at both ends; both ends stacked."""
    known = (ends["mos_lqo"] > 0) & (ends["jitter_sd_ms"] > 0)
    good_ends = ends[known].groupby("call")["end"].nunique()
    return ends[known & ends["call"].isin(good_ends[good_ends == 2].index)]


def _correlation(name: str) -> Statistic:
    return lambda score, jitter: float(getattr(correlate(score, jitter), name.lower()))


def _correlation_right(ends: pd.DataFrame, name: str) -> Right:
    rows = ends[(ends["mos_lqo"] > 0) & ends["jitter_sd_ms"].notna()].copy()
    for column in ("mos_lqo", "jitter_sd_ms"):
        rows[column] -= rows.groupby("codec")[column].transform("median")
    definition = "each codec's median taken off both, so that codecs with different ceilings do not make or hide it"
    return Right(rows, ("mos_lqo", "jitter_sd_ms"), _correlation(name), lambda r: f"{r:.3f}", definition)


def _owd(ends: pd.DataFrame) -> F64:
    return ends["rtcp_rtt_ms"].dropna().to_numpy(dtype=float) / 2.0


ZEROS = "the same scores with zeros kept; a failed score (0.00) counts as the worst quality"
FAULT = (
    "the callee's scores were lost: both ends were concatenated onto a frame indexed by call, so pandas kept only the"
    " caller's; zeros dropped here, kept in the place table"
)
CUT = "values further than 3 × IQR from the quartiles are cut before the mean, so the mean leaves out the worst calls"
MIXED = "all codecs pooled; only calls with both ends measured and not zero"

METHODS: dict[str, Method] = {
    "rows": Method(lambda ends, _: count(ends["call"].nunique()), None, "", "the table of these calls", ()),
    "pesq_share": Method(
        lambda ends, _: ratio_text(_share_at_least_3(ends_scored(ends)["mos_lqo"].to_numpy(dtype=float))),
        _pesq_right(lambda _: _share_at_least_3, ratio_text),
        ZEROS,
        "scores of these calls",
        ("mos_lqo",),
    ),
    "pesq_quartile": Method(
        lambda ends, position: mos(quartiles(ends_scored(ends)["mos_lqo"])[int(position)]),
        _pesq_right(lambda position: _quartile(int(position)), mos),
        ZEROS,
        "scores of these calls",
        ("mos_lqo",),
    ),
    "jitter_total": Method(
        lambda ends, _: count(ends["jitter_mean_ms"].notna().sum()),
        None,
        "",
        "jitter of these calls",
        ("jitter_mean_ms",),
    ),
    "jitter_kept": Method(
        lambda ends, _: count(len(_kept(ends))), None, CUT, "jitter of these calls", ("jitter_mean_ms",)
    ),
    "jitter_mean": Method(
        lambda ends, _: milliseconds_text(_mean(_kept(ends))),
        _jitter_right(lambda _: _mean, milliseconds_text),
        CUT,
        "jitter of these calls",
        ("jitter_mean_ms",),
    ),
    "jitter_above": Method(
        lambda ends, bound: f"{100 * float(np.mean(_kept(ends) > float(bound))):.0f} %",
        _jitter_right(lambda bound: lambda values: float(np.mean(values > float(bound))), lambda v: f"{100 * v:.0f} %"),
        CUT,
        "jitter of these calls",
        ("jitter_mean_ms",),
    ),
    "codec_above": Method(
        lambda ends, codec: count((codec_as_published(ends, codec) > 3.0).sum()),
        _codec_right(lambda _: lambda scores: float(np.sum(scores > 3.0)), count),
        FAULT,
        "scores of these calls",
        ("mos_lqo",),
    ),
    "codec_total": Method(
        lambda ends, codec: count(len(codec_as_published(ends, codec))),
        _codec_right(lambda _: lambda scores: float(len(scores)), count),
        FAULT,
        "scores of these calls",
        ("mos_lqo",),
    ),
    "codec_share": Method(
        lambda ends, codec: ratio_text(_share_above_3(codec_as_published(ends, codec))),
        _codec_right(lambda _: _share_above_3, ratio_text),
        FAULT,
        "scores of these calls",
        ("mos_lqo",),
    ),
    "codec_mean": Method(
        lambda ends, codec: mos(_mean(codec_as_published(ends, codec))),
        _codec_right(lambda _: _mean, mos),
        FAULT,
        "scores of these calls",
        ("mos_lqo",),
    ),
    "codec_quartile": Method(
        lambda ends, codec: mos(quartiles(codec_as_published(ends, codec.split()[0]))[int(codec.split()[1])]),
        _codec_right(lambda codec: _quartile(int(codec.split()[1])), mos),
        FAULT,
        "scores of these calls",
        ("mos_lqo",),
    ),
    "owd_total": Method(
        lambda ends, _: count(len(_owd(ends))), None, "", "round-trip times of these calls", ("rtcp_rtt_ms",)
    ),
    "owd_quartile": Method(
        lambda ends, position: f"{quartiles(_owd(ends))[int(position)]:.0f} ms",
        None,
        "",
        "round-trip times of these calls (the study's log.json)",
        ("rtcp_rtt_ms",),
    ),
    "owd_under": Method(
        lambda ends, bound: f"{100 * float(np.mean(_owd(ends) < float(bound))):.1f} %",
        None,
        "",
        "round-trip times of these calls (the study's log.json)",
        ("rtcp_rtt_ms",),
    ),
    "correlation": Method(
        lambda ends, name: f"{_correlation(name)(_pairs(ends)['mos_lqo'], _pairs(ends)['jitter_sd_ms']):.3f}",
        _correlation_right,
        MIXED,
        "scores and jitter of these calls",
        ("mos_lqo", "jitter_sd_ms"),
    ),
}
