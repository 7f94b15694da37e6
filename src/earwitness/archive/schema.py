"""The row: one call and direction. Field names are the contract, the same in JSON, CSV and Parquet."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from earwitness.analysis.conditions import conditions
from earwitness.errors import Outcome
from earwitness.facts import LABEL, MS_RANGE, finite

if TYPE_CHECKING:
    from earwitness.trace.timing import Timing
from earwitness.options import NAME

SCHEMA_VERSION = 1

_RANGES: dict[str, tuple[float, float]] = {
    "ratio 0..1": (-1e-9, 1.0 + 1e-9),  # a sum of shares is not always 1 to the last digit
    "MOS 1..5": (0.9, 5.0),  # P.862.1 and P.862.2 begin at 0.999
    "MOS 1..4.5": (0.9, 5.0),
    "P.862 score -0.5..4.5": (-10.0, 5.0),  # the algorithm itself does not stop at -0.5
    "R 0..100": (-1000.0, 1000.0),  # G.107's R is below 0 where everything is bad
    "ms": MS_RANGE,
    "packets": (0, 1e12),
    "gaps": (0, 1e12),
    "relays": (0, 1000),
    "Mbit/s": (0.0, 1e12),
    "kbit/s": (0.0, 1e12),
}
"""By unit: a row with a figure outside is not a measurement of anything, and is not read."""


_LONGEST_TEXT = 100_000


def _column(
    definition: str, unit: str = "", source: str = "", default: Any = None, longest: int = _LONGEST_TEXT
) -> Any:
    """A field of the row with what the data dictionary says of it, the range of its figures and the length of texts."""
    metadata: dict[str, Any] = {"definition": definition, "unit": unit, "source": source}
    metadata |= {"range": _RANGES.get(unit), "longest": longest if isinstance(default, str) else None}
    return dataclasses.field(default=default, metadata=metadata)


MOST_SCORES = 50
"""Scorers whose figures a row can hold."""


def is_scores(scores: Mapping[str, object]) -> bool:
    """Whether these can be the figures of scorers by name: none is called as a column of the row is."""
    return len(scores) <= MOST_SCORES and all(
        NAME.fullmatch(name) and name not in Row.__dataclass_fields__ and _is_figure(value)
        for name, value in scores.items()
    )


def _is_figure(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and MS_RANGE[0] <= value <= MS_RANGE[1]  # type: ignore[operator]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One direction of one call. None means: not measured (the outcome says why)."""

    call_id: str = _column("Identity of the call; both directions share it", default="")
    started_at: str = _column("Start of the call, UTC", "ISO 8601, ns", default="")
    network: str = _column("lab, public, or the data set a row was imported from", default="lab", longest=LABEL)
    path: str = _column("direct, tor, vpn, vpn-tor, onion ...", default="", longest=LABEL)
    hops: int | None = _column("Relays in the circuit; 0 without Tor", "relays")
    circuit: str = _column("Relays, first hop first: nickname@place joined by ' > '", default="")
    codec: str = _column(
        "g711u, g711a, gsm, speex, opus, with options as asked (opus:24000)",
        default="",
        longest=LABEL,
    )
    from_place: str = _column("City of the caller", default="", longest=LABEL)
    to_place: str = _column("City of the callee", default="", longest=LABEL)
    phone: str = _column("Which phone placed the call", default="builtin", longest=LABEL)
    relay_nodelay: bool | None = _column(
        "Whether the private network's relays had TCP_NODELAY set; null without relays"
    )
    security: str = _column(
        "How the tunnel of vpn and vpn-tor was protected: none, static, tls; empty without one",
        default="",
        longest=LABEL,
    )
    tunnel_nodelay: bool | None = _column("Whether the tunnel's TCP connection had TCP_NODELAY; null without one")
    load: str = _column(
        "Background traffic that the lab's relays carried during the call, as `--load` has it; none; empty: not known",
        default="",
        longest=LABEL,
    )
    load_mbit_s: float | None = _column("What the load's clients received during the call, together", "Mbit/s")
    link: str = _column(
        "Impairments of the caller's links beyond geography, as `--link` has them; none; empty: not known",
        default="",
        longest=LABEL,
    )
    sip_server: str = _column("SIP server that the call went through; empty: none", default="")
    seed: int | None = _column("Seed of everything random in this call")
    outcome: str = _column("How the call ended, see outcomes", default="", longest=LABEL)
    outcome_detail: str = _column("One line: what was tried, on what, what happened, what to do", default="")
    direction: str = _column("to_callee (caller speaks) or to_caller", default="")
    packets_sent: int | None = _column(
        "Distinct RTP packets known to have been sent: captured leaving the speaker's end, or arriving", "packets"
    )
    packets_received: int | None = _column("Distinct RTP packets captured at the listener's end", "packets")
    packets_duplicate: int | None = _column("Packets received again", "packets", "RFC 3550 A.3")
    packets_reordered: int | None = _column(
        "Packets with a lower sequence number than one that arrived before", "packets", "RFC 4737 type-P-reordered"
    )
    loss_ratio: float | None = _column("1 - packets_received / packets_sent", "ratio 0..1", "RFC 7680")
    late_ratio: float | None = _column(
        "Packets received after their playout instant / packets_sent", "ratio 0..1", "late discard, RFC 3611 4.7.1"
    )
    concealed_ratio: float | None = _column("Playout time filled by concealment within speech", "ratio 0..1")
    jitter_mean_ms: float | None = _column(
        "Mean over packets of the interarrival jitter estimate", "ms", "RFC 3550 6.4.1"
    )
    jitter_median_ms: float | None = _column("Median of the same series", "ms", "RFC 3550 6.4.1")
    jitter_p95_ms: float | None = _column("95th percentile of the same series", "ms", "RFC 3550 6.4.1")
    jitter_max_ms: float | None = _column("Maximum of the same series", "ms", "RFC 3550 6.4.1")
    jitter_range_ms: float | None = _column("Maximum less minimum of the same series", "ms", "RFC 3550 6.4.1")
    jitter_iqr_ms: float | None = _column("Interquartile range of the same series", "ms", "RFC 3550 6.4.1")
    jitter_sd_ms: float | None = _column("Standard deviation (n - 1) of the same series", "ms", "RFC 3550 6.4.1")
    gap_max_ms: float | None = _column(
        "Longest time between arrivals in excess of the time between the packets' RTP timestamps plus one ptime,"
        " so that pauses of silence suppression do not count",
        "ms",
    )
    gaps_150ms: int | None = _column(
        "Times between arrivals above 150 ms, pauses of silence suppression counted: the study's delay spikes", "gaps"
    )
    spikes_150ms: int | None = _column(
        "Times between arrivals above 150 ms once the pauses of silence suppression are taken off", "gaps"
    )
    owd_min_ms: float | None = _column("Least one-way delay", "ms", "RFC 7679")
    owd_p50_ms: float | None = _column("Median one-way delay", "ms", "RFC 7679")
    owd_p95_ms: float | None = _column("95th percentile one-way delay", "ms", "RFC 7679")
    owd_p99_ms: float | None = _column("99th percentile one-way delay", "ms", "RFC 7679")
    owd_error_ms: float | None = _column("Bound on the error of every one-way delay in this row", "ms", "RFC 7679 3.7")
    mouth_to_ear_ms: float | None = _column(
        "Packetisation + codec look-ahead + network + mean playout delay", "ms", "ITU-T G.114, G.107"
    )
    playout_buffer: str = _column("Jitter buffer that rendered the audio", default="", longest=LABEL)
    concealment: str = _column(
        "What fills a missing frame in it: as asked, else the buffer's own; empty: not known",
        default="",
        longest=LABEL,
    )
    post_dial_delay_ms: float | None = _column(
        "INVITE sent to the first 180 or 200 received", "ms", "RFC 6076 4.3 (session request delay)"
    )
    path_setup_ms: float | None = _column("Time to open the path (circuit and streams, tunnel)", "ms")
    rtt_min_ms: float | None = _column(
        "Least round-trip time of probes through the path before the call; where its ends have addresses of their own"
        " (`direct`, `vpn`, `vpn-tor`), by the kernel's stamps of arrival and without the time that the answering"
        " end held them",
        "ms",
        "ping(8); RFC 2681",
    )
    rtt_avg_ms: float | None = _column("Mean of the same", "ms", "ping(8)")
    rtt_max_ms: float | None = _column("Maximum of the same", "ms", "ping(8)")
    rtt_mdev_ms: float | None = _column("Standard deviation (n) of the same, as ping's mdev", "ms", "ping(8)")
    throughput_kbit_s: float | None = _column(
        "What the path carried in this direction after the call: at most 1 MiB or 3 s over one TCP stream,"
        " from the first arrival, its start-up included",
        "kbit/s",
    )
    answer_delay_ms: float | None = _column("INVITE sent to 200 received", "ms")
    first_media_ms: float | None = _column("INVITE sent to first RTP packet received at this direction's ear", "ms")
    send_deviation_p99_ms: float | None = _column(
        "99th percentile deviation of sending times from the ptime grid at the speaker", "ms"
    )
    rtcp_rtt_ms: float | None = _column("Median round-trip time from RTCP reports", "ms", "RFC 3550 6.4.1")
    pesq_raw: float | None = _column("PESQ raw score, narrowband", "P.862 score -0.5..4.5", "ITU-T P.862")
    mos_lqo: float | None = _column("PESQ mapped to MOS-LQO, narrowband", "MOS 1..5", "ITU-T P.862.1")
    mos_lqo_wb: float | None = _column("Wideband PESQ, where the speech is 16 kHz", "MOS 1..5", "ITU-T P.862.2")
    phone_mos_lqo: float | None = _column(
        "MOS-LQO of the phone's own recording, where it made one; `mos_lqo` is of our ear's rendering",
        "MOS 1..5",
        "ITU-T P.862.1",
    )
    mos_cqe: float | None = _column("E-model conversational quality estimate", "MOS 1..4.5", "ITU-T G.107, G.113")
    r_factor: float | None = _column("E-model transmission rating", "R 0..100", "ITU-T G.107")
    verdict: str = _column("good, acceptable, poor, bad, or failed: for a person", default="", longest=LABEL)
    verdict_reason: str = _column("What made it so, in one sentence", default="")
    speech: str = _column("Name of the reference speech", default="")
    study: str = _column("Study that the call belongs to", default="", longest=LABEL)
    block: str = _column(
        "Block of the study, repeat.number: its calls differ in nothing but what is compared",
        default="",
        longest=LABEL,
    )
    arm: str = _column("Name of the path among those the study compares", default="", longest=LABEL)
    attempt: int | None = _column("Which attempt at this call of the study, from 1")
    source_capture: str = _column("Capture an imported row was read from, relative to the imported folder", default="")
    source_recording: str = _column(
        "Recording an imported row was scored from, relative to the imported folder", default=""
    )
    codec_claimed: str = _column(
        "Codec by the imported folder's name; `codec` is the one found in the packets", default=""
    )
    iteration: int | None = _column("Number of an imported call within its series")
    reading: str = _column(
        "as-published where jitter and PESQ were computed the way the published study did; else empty",
        default="",
        longest=LABEL,
    )
    doubts: str = _column("What is doubtful about an imported row, joined by '; '", default="")
    instrument_ok: bool | None = _column("Whether the instrument's own timing was good enough to trust this row")
    instrument_detail: str = _column("What of it was not good enough, and by how much; empty: nothing", default="")
    schema_version: int = _column("Version of this table's layout", default=SCHEMA_VERSION)
    scores: Mapping[str, float] = dataclasses.field(
        default_factory=dict,
        metadata={
            "definition": "Figures of the scorers that were asked for besides, by scorer (`--scorer`); in calls.parquet"
            " a JSON object as text, empty where there is none, and in tables a column for each",
            "unit": "",
            "source": "the scorer",
            "range": None,
            "longest": _LONGEST_TEXT,
        },
    )

    def with_timing(self, timing: Timing, *, owd_error_ms: float | None = None) -> Row:
        """The row with every column that the times of its packets give.

        `owd_error_ms` bounds the error of the one-way delays; the column stays empty where there are none.
        """
        return dataclasses.replace(
            self,
            packets_received=timing.packets_received,
            packets_duplicate=timing.packets_duplicate,
            packets_reordered=timing.packets_reordered,
            jitter_mean_ms=finite(timing.jitter_mean_ms),
            jitter_median_ms=finite(timing.jitter_median_ms),
            jitter_p95_ms=finite(timing.jitter_p95_ms),
            jitter_max_ms=finite(timing.jitter_max_ms),
            jitter_range_ms=finite(timing.jitter_range_ms),
            jitter_iqr_ms=finite(timing.jitter_iqr_ms),
            jitter_sd_ms=finite(timing.jitter_std_dev_ms),
            gap_max_ms=finite(timing.gap_max_ms),
            gaps_150ms=timing.spikes_with_pauses,
            spikes_150ms=timing.spikes_without_pauses,
            owd_min_ms=finite(timing.owd_min_ms),
            owd_p50_ms=finite(timing.owd_p50_ms),
            owd_p95_ms=finite(timing.owd_p95_ms),
            owd_p99_ms=finite(timing.owd_p99_ms),
            owd_error_ms=owd_error_ms if finite(timing.owd_p50_ms) is not None else None,
        )

    def ended(self, outcome: Outcome, detail: str) -> Row:
        """The row with the call's ending; a failed call has no verdict but that."""
        row = dataclasses.replace(self, outcome=str(outcome), outcome_detail=detail)
        if outcome is Outcome.COMPLETED:
            return row
        return dataclasses.replace(row, verdict="failed", verdict_reason=detail)

    @property
    def conditions(self) -> str:
        """What was different on the call's way, in words: see the function of this name."""
        return conditions(load=self.load, link=self.link, relay_nodelay=self.relay_nodelay)

    def to_dict(self) -> dict[str, Any]:
        """The row as plain JSON values, in column order."""
        return dataclasses.asdict(self)

    def figure(self, column: str) -> float | None:
        """The figure of a column, or of a scorer by its name; None: not measured."""
        value = self.scores.get(column) if column not in Row.__dataclass_fields__ else getattr(self, column)
        return None if value is None else float(value)


def columns() -> list[dataclasses.Field[Any]]:
    """The row's columns with their metadata, in order."""
    return list(dataclasses.fields(Row))
