"""Figures of how packets travel: jitter, delay spikes, round trips and throughput."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from earwitness.analysis.statistics import correlate
from earwitness.arrays import F64
from earwitness.report.reproduction.drawing import (
    FigureData,
    NotDrawn,
    box,
    cdf,
    counts_text,
    legend_above,
    note,
    share_axis,
)
from earwitness.report.style import BLACK, Mark, new_figure, panels, series_style

CELLS_KBIT_S = 50 * 514 * 8 / 1000
"""One Tor cell of 514 bytes (tor-spec 3) every 20 ms: what a call needs from a circuit, kbit/s."""


def draw_jitter_cdf(study: FigureData) -> tuple[Figure, str]:
    """How unevenly packets arrive: the distribution of the mean jitter of calls."""
    drawing, axes = new_figure()
    counts = []
    for condition, group, mark in study.groups("jitter_mean_ms"):
        values = group["jitter_mean_ms"].dropna()
        cdf(axes, values[values > 0], mark)
        counts.append((condition, len(values)))
    if not counts:
        raise NotDrawn("no jitter in this study")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    note(axes, 30.0, "30 ms", 0.06)
    axes.set(xlabel="mean interarrival jitter of a call (RFC 3550), ms")
    share_axis(axes)
    legend_above(axes)
    return drawing, f"Every end measured, nothing cut: {counts_text(counts)}."


def draw_spikes(study: FigureData) -> tuple[Figure, str]:
    """Delay spikes against mean jitter: as counted by the study, and without the pauses in the speech."""
    groups = list(study.packet_groups("gaps_150ms"))
    if not groups:
        raise NotDrawn("spikes need each packet's time of arrival, and there is no capture or trace in this study")
    drawing, axes = panels(1, 2, "page", 2.3)
    everything = pd.concat([group for _, group, _ in groups])
    titles = (("gaps_150ms", "time between arrivals > 150 ms"), ("spikes_150ms", "the same, less pauses in the speech"))
    for panel, (column, title) in zip(axes, titles, strict=True):
        for _, group, mark in groups:
            panel.plot(group["jitter_mean_ms"], group[column], markersize=3.2, markerfacecolor="none", **mark.points())
        rho = correlate(everything[column], everything["jitter_mean_ms"]).spearman
        panel.set_xscale("log")
        panel.set_yscale("symlog", linthresh=1)
        panel.set(title=f"{title} (Spearman {rho:.2f})" if rho == rho else title, xlabel="mean jitter of the call, ms")
        panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        panel.set_ylim(bottom=-0.2)
        panel.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes[1].sharey(axes[0])
    axes[0].set_ylabel("gaps of a call")
    axes[0].legend(loc="upper left")
    counts = counts_text([(condition, len(group)) for condition, group, _ in groups])
    return drawing, (
        "Left, as the study counted delay spikes: every time between arrivals above 150 ms, so a pause of silence"
        " suppression counts. Right: the same times with the sender's pauses taken off."
        f" Ends with packets: {counts}."
    )


def draw_owd_box(study: FigureData) -> tuple[Figure, str]:
    """Half the round trip of calls, next to half of Tor Metrics' circuit latency."""
    boxes: list[tuple[str, F64, Mark]] = []
    for condition, group, mark in study.packet_groups("rtcp_rtt_ms"):
        values = group["rtcp_rtt_ms"].dropna().to_numpy(dtype=float) / 2.0
        boxes.append((f"{condition}\nRTT/2\n(n = {len(values)})", values, mark))
    for condition, group, mark in study.packet_groups("owd_p50_ms"):
        values = group["owd_p50_ms"].dropna().to_numpy(dtype=float)
        boxes.append((f"{condition}\none-way\n(n = {len(values)})", values, mark))
    measured = len(boxes)
    if study.metrics_latency is not None:
        for turn, (site, days) in enumerate(_by_site(study.metrics_latency)):
            mark = series_style(3 + turn, site)
            boxes.append((f"Metrics\nRTT/2\n{site}", days["md"].to_numpy(dtype=float) / 2.0, mark))
    if not boxes:
        raise NotDrawn("no round-trip times in this study")
    drawing, axes = new_figure(height=2.2)
    for position, (_, values, mark) in enumerate(boxes):
        box(axes, values, position, 0.6, mark)
    for limit in (150, 400):
        axes.axhline(limit, color=BLACK, linewidth=0.6, linestyle=(0, (1, 1)))
        axes.annotate(
            f"{limit} ms (G.114)", (1, limit), xycoords=("axes fraction", "data"), fontsize=6, ha="right", va="bottom"
        )
    axes.set_xticks(range(len(boxes)), [name for name, _, _ in boxes], fontsize=5.5)
    axes.set(ylabel="delay, ms")
    axes.set_ylim(bottom=0, top=max(420.0, *(float(np.quantile(values, 0.97)) for _, values, _ in boxes)))
    axes.grid(axis="x", visible=False)
    absent = "" if measured else " This study has no round trip of its calls."
    return drawing, (
        "RTT/2: half the median round trip of a call by its RTCP reports; of Tor Metrics, half of the daily median"
        " circuit round trip by vantage point. One-way: median delay of a direction that was captured at both ends,"
        f" clocks fitted from both directions.{absent}"
    )


def _by_site(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Tor Metrics' rows by vantage point, without conflux and without days that have no measurement."""
    plain = table[~table["source"].str.contains("conflux") & (table["md"] > 0)]
    for site, days in plain.groupby("source"):
        yield str(site), days


def draw_throughput(study: FigureData) -> tuple[Figure, str]:
    """Tor Metrics' throughput, compared with what a call needs."""
    if study.metrics_throughput is None:
        raise NotDrawn("no Tor Metrics throughput table in this study")
    drawing, axes = new_figure()
    for turn, (site, days) in enumerate(_by_site(study.metrics_throughput)):
        cdf(axes, days["md"] / 1000.0, series_style(turn, site))
    axes.set_xscale("log")
    note(axes, CELLS_KBIT_S / 1000.0, f"one call: {CELLS_KBIT_S:.0f} kbit/s of cells", 0.12)
    note(axes, 0.5, "500 kbit/s", 0.12)
    axes.set(xlabel="median throughput of a day (Tor Metrics), Mbit/s")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    share_axis(axes, "share of days")
    legend_above(axes)
    zero = int((study.metrics_throughput["md"] == 0).sum())
    return drawing, (
        f"A value a day and vantage point, without conflux; the {zero} rows of the whole table that say 0 are left out."
        " The calls' own throughput tests (iperf in the study's log.json) are not in these files."
    )
