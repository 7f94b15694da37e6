"""`earwitness timing`: the timing of RTP streams in captures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from earwitness.cli import panels
from earwitness.cli.choosing import PayloadTypeOption, PortOption, SrtpKeyOption, SsrcOption, StreamOption
from earwitness.cli.common import JsonFlag, output, print_records, progress
from earwitness.cli.options import taking

if TYPE_CHECKING:
    from earwitness.replay.estimating import StreamEstimate
    from earwitness.trace.report import StreamTiming
    from earwitness.trace.wireshark import WiresharkFigures

_NAMES = {"codec": "hear --codec"}
"""Settings that estimates name and this command has no option for."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel=panels.RECORDINGS)(timing)


@dataclass(frozen=True, kw_only=True)
class TimingOptions:
    """The options of `earwitness timing`."""

    captures: Annotated[list[Path], typer.Argument(metavar="CAPTURE...", help="pcap or pcapng files.")]
    side: Annotated[
        str | None,
        typer.Option(
            help="Side whose received packets are timed: caller (who sent the INVITE) or callee; in the"
            " published study's tunnel, packets from 10.8.0.1 or from 10.8.0.2. Default: both.",
            rich_help_panel=panels.CHOICE,
        ),
    ] = None
    address: Annotated[
        str | None,
        typer.Option(help="Only streams sent from this address. Default: all.", rich_help_panel=panels.CHOICE),
    ] = None
    stream: StreamOption = None
    port: PortOption = None
    ssrc: SsrcOption = None
    clock_rate: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="RTP clock rate in Hz, overriding the payload type. Default: the payload type's.",
            rich_help_panel=panels.METHOD,
        ),
    ] = None
    payload_type: PayloadTypeOption = None
    srtp_key: SrtpKeyOption = None
    buffer: Annotated[
        str,
        typer.Option(
            help="Jitter buffer for the estimated quality (`earwitness kinds buffers`).", rich_help_panel=panels.METHOD
        ),
    ] = "pjmedia"
    spike_ms: Annotated[
        float, typer.Option(help="Shortest gap that counts as a delay spike, in ms.", rich_help_panel=panels.METHOD)
    ] = 150.0
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue after damage in a pcap file.", rich_help_panel=panels.METHOD)
    ] = False
    as_published: Annotated[
        bool,
        typer.Option(
            "--as-published",
            help="Print the published study's six jitter statistics, to 3 decimals.",
            rich_help_panel=panels.RESULT,
        ),
    ] = False
    json: JsonFlag = False


@taking(TimingOptions)
def timing(asked: TimingOptions) -> None:
    """Print the timing of the RTP streams in captures: jitter, gaps, spikes, bursts, loss, delay variation.

    Without --side, --address or --stream, every stream of every capture is timed. If one of several captures cannot be
    used, it is reported on standard error, the others are timed, and the exit code is 2.
    """
    from earwitness.errors import InputError
    from earwitness.replay.estimating import estimate_streams
    from earwitness.trace.report import choose_streams, time_streams
    from earwitness.trace.selection import read_selected, selection

    selected = selection(
        stream=asked.stream,
        ports=asked.port,
        ssrc=asked.ssrc,
        payload_types=asked.payload_type,
        clock_rate=asked.clock_rate,
        srtp_key=asked.srtp_key,
    )
    failed = False
    for path in asked.captures:
        try:
            capture = read_selected(path, selected, resume=asked.resume)
            streams = choose_streams(capture, side=asked.side, address=asked.address, stream=asked.stream)
            found = time_streams(capture, streams, spike_threshold_ms=asked.spike_ms)
        except InputError as error:
            if len(asked.captures) == 1:
                raise
            failed = True
            progress.print(f"earwitness: {error}", markup=False, soft_wrap=True)
            continue
        if asked.as_published and not asked.json:
            for item in found:
                _print(item, None)
            continue
        estimates = estimate_streams(capture, streams, asked.buffer, stream=asked.stream, names=_NAMES)
        if asked.json:
            pairs = zip(found, estimates, strict=True)
            print_records({**item.to_dict(), "estimate": each.record()} for item, each in pairs)
            continue
        for item, each in zip(found, estimates, strict=True):
            _print(item, each)
    if failed:
        raise typer.Exit(2)


def _print(item: StreamTiming, estimated: StreamEstimate | None) -> None:
    """The table of one stream; without an estimate, as published."""
    from rich.table import Table

    from earwitness.trace.directions import Seen

    table = Table(show_header=False, box=None)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column()
    for label, value, unit in (
        _published_rows(item) if estimated is None else [*_rows(item), *_estimated_rows(estimated)]
    ):
        table.add_row(label, value, unit)
    said = f", {Seen(item.direction, item.direction_from)}" if item.direction != "unknown" else ""
    said += f", {item.stream.encryption}" if item.stream.encryption.certain else ""
    output.print(f"{item.capture}: {item.stream}{said}", markup=False, soft_wrap=True)
    output.print(table)
    for note in dict.fromkeys((*item.notes, *(() if estimated is None else estimated.notes))):
        progress.print(f"note: {note}", markup=False, soft_wrap=True)


def _published_rows(item: StreamTiming) -> list[tuple[str, str, str]]:
    p = item.published
    named = (
        ("jitter mean", p.mean_ms),
        ("jitter median", p.median_ms),
        ("jitter max", p.max_ms),
        ("jitter range", p.range_ms),
        ("jitter iqr", p.iqr_ms),
        ("jitter std_dev", p.std_dev_ms),
    )
    return [(label, f"{value:.3f}", "ms") for label, value in named]


def _rows(item: StreamTiming) -> list[tuple[str, str, str]]:
    t, w = item.timing, item.wireshark
    shares = (t.burst_share_1, t.burst_share_2, t.burst_share_3, t.burst_share_4, t.burst_share_5_or_more)
    bursts = " / ".join(f"{100 * share:.0f}" for share in shares)
    lost = f"{100 * t.loss_ratio:.2f} %, longest {t.loss_burst_longest}, BurstR {t.burst_ratio:.2f}"
    jitter = f"{t.jitter_median_ms:.3f}, {t.jitter_p95_ms:.3f}, {t.jitter_max_ms:.3f}"
    variation = f"{t.pdv_p50_ms:.1f}, {t.pdv_p95_ms:.1f}, {t.pdv_p99_ms:.1f}"
    spikes = f"({t.spikes_with_pauses} with pauses counted)"
    rows = [
        ("packets received / expected", f"{t.packets_received} / {t.packets_expected}", ""),
        ("lost", f"{t.packets_lost}", lost),
        ("duplicate / reordered", f"{t.packets_duplicate} / {t.packets_reordered}", ""),
        ("restarts / jumps / holds", f"{t.sequence_restarts} / {t.timestamp_jumps} / {t.holds}", _held(t.held_s)),
        ("duration", f"{t.duration_s:.3f}", f"s, {t.talkspurts} talkspurts, {t.pauses_total_s:.2f} s of pauses"),
        ("jitter mean (RFC 3550)", f"{t.jitter_mean_ms:.3f}", "ms"),
        ("jitter median, p95, max", jitter, "ms"),
        ("jitter at the end (A.8)", f"{t.jitter_final_units}", f"units of 1/{t.clock_rate} s"),
        ("jitter mean, max (Wireshark)", *_by_wireshark(w)),
        ("longest gap, pauses included", f"{t.gap_max_with_pauses_ms:.1f}", "ms"),
        ("longest gap, pauses taken off", f"{t.gap_max_without_pauses_ms:.1f}", "ms"),
        ("longest gap, lateness alone", f"{t.gap_max_ms:.1f}", "ms"),
        (f"spikes over {t.spike_threshold_ms:g} ms", f"{t.spikes_without_pauses}", spikes),
        ("delay variation p50, p95, p99", variation, f"ms over the least, by {t.pdv_basis}"),
        ("in bursts of 1/2/3/4/5+", bursts, f"% of packets, within {t.burst_within_ms:g} ms"),
        ("between bursts p50, p95", f"{t.burst_gap_p50_ms:.1f}, {t.burst_gap_p95_ms:.1f}", "ms"),
    ]
    if item.rtt_p50_ms == item.rtt_p50_ms:
        rows.append(("half round trip (RTCP), p50", f"{item.rtt_p50_ms / 2:.1f}", "ms; not a one-way delay"))
    return rows


def _estimated_rows(estimated: StreamEstimate) -> list[tuple[str, str, str]]:
    """The quality estimated from the packets alone, if there is any."""
    heading, played, quality = f"estimated through {estimated.buffer}", estimated.played, estimated.quality
    if played is None or quality is None:
        return [(heading, "-", estimated.reason)]
    shares = played.shares
    missed = f"{100 * shares['lost_ratio']:.1f} % lost, {100 * shares['late_ratio']:.1f} % late"
    known = "" if played.mouth_to_ear_basis == "sent" else f" ({played.mouth_to_ear_basis})"
    rows = [(heading, missed, f"{played.mouth_to_ear_mean_ms:.0f} ms mouth to ear{known}")]
    figures = " / ".join("-" if value is None else f"{value:.2f}" for value in (quality.mos_lqe, quality.mos_cqe))
    said = "; ".join(filter(None, ("E-model (G.107)", quality.doubt, quality.reason)))
    return [*rows, ("MOS estimated, LQE / CQE", figures, said)]


def _held(seconds: float) -> str:
    return f"on hold {seconds:.1f} s" if seconds else ""


def _by_wireshark(figures: WiresharkFigures) -> tuple[str, str]:
    if figures.mean_jitter_ms != figures.mean_jitter_ms:
        return "-", "it would contain the break in the sender's numbering"
    return f"{figures.mean_jitter_ms:.3f}, {figures.max_jitter_ms:.3f}", "ms"
