"""The row: one direction of one call. Its field names are stable, and the same in JSON, CSV and Parquet."""

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
    "P.862 score -0.5..4.5": (-10.0, 5.0),  # the algorithm itself goes below -0.5
    "R 0..100": (-1000.0, 1000.0),  # G.107's R is below 0 if everything is bad
    "ms": MS_RANGE,
    "packets": (0, 1e12),
    "gaps": (0, 1e12),
    "relays": (0, 1000),
    "Mbit/s": (0.0, 1e12),
    "kbit/s": (0.0, 1e12),
}
"""Range by unit: a row with a value outside is not a valid measurement, and is rejected."""


_LONGEST_TEXT = 100_000


def _column(
    definition: str, unit: str = "", source: str = "", default: Any = None, longest: int = _LONGEST_TEXT
) -> Any:
    """A field of the row with its entry in the data dictionary, the range of its values and the length of its texts."""
    metadata: dict[str, Any] = {"definition": definition, "unit": unit, "source": source}
    metadata |= {"range": _RANGES.get(unit), "longest": longest if isinstance(default, str) else None}
    return dataclasses.field(default=default, metadata=metadata)


MOST_SCORES = 50
"""Most additional scorers in one row."""


def is_scores(scores: Mapping[str, object]) -> bool:
    """Whether these are valid figures of additional scorers by name: no name is that of a column of the row."""
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

    call_id: str = _column("Identifier of the call; both directions share it", default="")
    started_at: str = _column("Start of the call, UTC", "ISO 8601, ns", default="")
    network: str = _column("lab, public, or the data set that the row was imported from", default="lab", longest=LABEL)
    path: str = _column("direct, tor, vpn, vpn-tor, onion ...", default="", longest=LABEL)
    hops: int | None = _column("Relays in the circuit; 0 without Tor", "relays")
    circuit: str = _column("Relays from the first hop on: nickname@place, joined by ' > '", default="")
    codec: str = _column(
        "g711u, g711a, gsm, speex, opus, with the requested options (opus:24000)",
        default="",
        longest=LABEL,
    )
    from_place: str = _column("City of the caller", default="", longest=LABEL)
    to_place: str = _column("City of the callee", default="", longest=LABEL)
    phone: str = _column("Phone that placed the call", default="builtin", longest=LABEL)
    relay_nodelay: bool | None = _column(
        "Whether the relays of the private network had TCP_NODELAY set; null without relays"
    )
    security: str = _column(
        "Protection of the tunnel of vpn and vpn-tor: none, static, tls; empty without a tunnel",
        default="",
        longest=LABEL,
    )
    tunnel_nodelay: bool | None = _column(
        "Whether the tunnel's TCP connection had TCP_NODELAY set; null without a tunnel"
    )
    load: str = _column(
        "Background traffic through the lab's relays during the call, as given to `--load`, or none; empty: unknown",
        default="",
        longest=LABEL,
    )
    load_mbit_s: float | None = _column(
        "Total rate at which the load's clients received data during the call", "Mbit/s"
    )
    link: str = _column(
        "Impairments of the caller's links in addition to distance, as given to `--link`, or none; empty: unknown",
        default="",
        longest=LABEL,
    )
    sip_server: str = _column("SIP server used by the call; empty: none", default="")
    seed: int | None = _column("Seed of all random choices in this call")
    outcome: str = _column("How the call ended; see Outcomes", default="", longest=LABEL)
    outcome_detail: str = _column("One line: what was attempted, on what, what happened, and what to do", default="")
    direction: str = _column("to_callee (caller speaks) or to_caller", default="")
    packets_sent: int | None = _column(
        "Distinct RTP packets known to have been sent: captured at the speaker's end or at the listener's", "packets"
    )
    packets_received: int | None = _column("Distinct RTP packets captured at the listener's end", "packets")
    packets_duplicate: int | None = _column("Packets received more than once", "packets", "RFC 3550 A.3")
    packets_reordered: int | None = _column(
        "Packets with a lower sequence number than a packet that arrived earlier",
        "packets",
        "RFC 4737 type-P-reordered",
    )
    loss_ratio: float | None = _column("1 - packets_received / packets_sent", "ratio 0..1", "RFC 7680")
    late_ratio: float | None = _column(
        "Packets received after their playout time / packets_sent", "ratio 0..1", "late discard, RFC 3611 4.7.1"
    )
    concealed_ratio: float | None = _column("Share of playout time within speech that was concealed", "ratio 0..1")
    jitter_mean_ms: float | None = _column(
        "Mean of the interarrival jitter estimate over all packets", "ms", "RFC 3550 6.4.1"
    )
    jitter_median_ms: float | None = _column("Median of the same series", "ms", "RFC 3550 6.4.1")
    jitter_p95_ms: float | None = _column("95th percentile of the same series", "ms", "RFC 3550 6.4.1")
    jitter_max_ms: float | None = _column("Maximum of the same series", "ms", "RFC 3550 6.4.1")
    jitter_range_ms: float | None = _column("Maximum minus minimum of the same series", "ms", "RFC 3550 6.4.1")
    jitter_iqr_ms: float | None = _column("Interquartile range of the same series", "ms", "RFC 3550 6.4.1")
    jitter_sd_ms: float | None = _column("Standard deviation (n - 1) of the same series", "ms", "RFC 3550 6.4.1")
    gap_max_ms: float | None = _column(
        "Longest excess of the time between two arrivals over the difference of their RTP timestamps plus one ptime;"
        " pauses of silence suppression therefore do not count",
        "ms",
    )
    gaps_150ms: int | None = _column(
        "Gaps between arrivals longer than 150 ms, including pauses of silence suppression: the study's delay spikes",
        "gaps",
    )
    spikes_150ms: int | None = _column(
        "Gaps between arrivals longer than 150 ms after subtracting the pauses of silence suppression", "gaps"
    )
    owd_min_ms: float | None = _column("Minimum one-way delay", "ms", "RFC 7679")
    owd_p50_ms: float | None = _column("Median one-way delay", "ms", "RFC 7679")
    owd_p95_ms: float | None = _column("95th percentile of one-way delay", "ms", "RFC 7679")
    owd_p99_ms: float | None = _column("99th percentile of one-way delay", "ms", "RFC 7679")
    owd_error_ms: float | None = _column("Bound on the error of every one-way delay in this row", "ms", "RFC 7679 3.7")
    mouth_to_ear_ms: float | None = _column(
        "Packetisation + codec look-ahead + network delay + mean playout delay", "ms", "ITU-T G.114, G.107"
    )
    playout_buffer: str = _column("Jitter buffer that rendered the audio", default="", longest=LABEL)
    concealment: str = _column(
        "Concealment method for missing frames: as requested, otherwise the buffer's own; empty: unknown",
        default="",
        longest=LABEL,
    )
    post_dial_delay_ms: float | None = _column(
        "Time from sending INVITE to receiving the first 180 or 200", "ms", "RFC 6076 4.3 (session request delay)"
    )
    path_setup_ms: float | None = _column("Time to open the path (circuit and streams, tunnel)", "ms")
    rtt_min_ms: float | None = _column(
        "Minimum round-trip time of probes through the path before the call; on paths whose ends have IP addresses"
        " (`direct`, `vpn`, `vpn-tor`), from kernel timestamps of arrival and without the processing time at the"
        " answering end",
        "ms",
        "ping(8); RFC 2681",
    )
    rtt_avg_ms: float | None = _column("Mean of the same round-trip times", "ms", "ping(8)")
    rtt_max_ms: float | None = _column("Maximum of the same round-trip times", "ms", "ping(8)")
    rtt_mdev_ms: float | None = _column(
        "Standard deviation (n) of the same round-trip times, like ping's mdev", "ms", "ping(8)"
    )
    throughput_kbit_s: float | None = _column(
        "Throughput of the path in this direction after the call: at most 1 MiB or 3 s over one TCP stream, measured"
        " from the first arrival and including TCP's start-up",
        "kbit/s",
    )
    answer_delay_ms: float | None = _column("Time from sending INVITE to receiving 200", "ms")
    first_media_ms: float | None = _column(
        "Time from sending INVITE to the first RTP packet at this direction's listener", "ms"
    )
    send_deviation_p99_ms: float | None = _column(
        "99th percentile of the deviation of sending times from the ptime grid at the speaker", "ms"
    )
    rtcp_rtt_ms: float | None = _column("Median round-trip time from RTCP reports", "ms", "RFC 3550 6.4.1")
    pesq_raw: float | None = _column("PESQ raw score, narrowband", "P.862 score -0.5..4.5", "ITU-T P.862")
    mos_lqo: float | None = _column("PESQ score mapped to MOS-LQO, narrowband", "MOS 1..5", "ITU-T P.862.1")
    mos_lqo_wb: float | None = _column("Wideband PESQ, if the speech has 16 kHz", "MOS 1..5", "ITU-T P.862.2")
    phone_mos_lqo: float | None = _column(
        "MOS-LQO of the phone's own recording, if it made one; `mos_lqo` is that of the sound rendered by the ear",
        "MOS 1..5",
        "ITU-T P.862.1",
    )
    mos_cqe: float | None = _column(
        "Conversational quality estimated by the E-model from codec, lost, late and discarded packets, and delay; null"
        " for a codec without factors",
        "MOS 1..4.5",
        "ITU-T G.107, G.113",
    )
    r_factor: float | None = _column("Transmission rating factor R of the E-model", "R 0..100", "ITU-T G.107")
    verdict: str = _column(
        "good, acceptable, poor, bad, or failed: a summary for human readers", default="", longest=LABEL
    )
    verdict_reason: str = _column("Reason for the verdict, in one sentence", default="")
    speech: str = _column("Name of the reference speech", default="")
    study: str = _column("Study that the call belongs to", default="", longest=LABEL)
    block: str = _column(
        "Block of the study, as repeat.number: its calls differ only in what is compared",
        default="",
        longest=LABEL,
    )
    arm: str = _column("Name of the path within the study", default="", longest=LABEL)
    attempt: int | None = _column("Number of the attempt at this call of the study, from 1")
    source_capture: str = _column("Capture file of an imported row, relative to the imported folder", default="")
    source_recording: str = _column(
        "Recording from which an imported row was scored, relative to the imported folder", default=""
    )
    codec_claimed: str = _column(
        "Codec according to the imported folder's name; `codec` is the one found in the packets", default=""
    )
    iteration: int | None = _column("Number of an imported call within its series")
    reading: str = _column(
        "as-published if jitter and PESQ were computed as in the published study; otherwise empty",
        default="",
        longest=LABEL,
    )
    doubts: str = _column("Doubts about an imported row, joined by '; '", default="")
    instrument_ok: bool | None = _column(
        "Whether the timing of Earwitness itself was good enough to trust this row (self-check)"
    )
    instrument_detail: str = _column("What failed in the self-check, and by how much; empty: nothing", default="")
    schema_version: int = _column("Version of this table's layout", default=SCHEMA_VERSION)
    scores: Mapping[str, float] = dataclasses.field(
        default_factory=dict,
        metadata={
            "definition": "Values of additional scorers (`--scorer`), by scorer; in calls.parquet a JSON object as"
            " text, empty if there are none; in tables one column each",
            "unit": "",
            "source": "the scorer",
            "range": None,
            "longest": _LONGEST_TEXT,
        },
    )

    def with_timing(self, timing: Timing, *, owd_error_ms: float | None = None) -> Row:
        """The row with every column that its packet times give.

        `owd_error_ms` bounds the error of the one-way delays; the column stays empty if there are none.
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
        """The row with the call's outcome; the verdict on a failed call is that it failed."""
        row = dataclasses.replace(self, outcome=str(outcome), outcome_detail=detail)
        if outcome is Outcome.COMPLETED:
            return row
        return dataclasses.replace(row, verdict="failed", verdict_reason=detail)

    @property
    def conditions(self) -> str:
        """The special conditions of the call, in words; see the function of the same name."""
        return conditions(load=self.load, link=self.link, relay_nodelay=self.relay_nodelay)

    def to_dict(self) -> dict[str, Any]:
        """The row as plain JSON values, in column order."""
        return dataclasses.asdict(self)

    def figure(self, column: str) -> float | None:
        """The value of a column, or of an additional scorer by name; None: not measured."""
        value = self.scores.get(column) if column not in Row.__dataclass_fields__ else getattr(self, column)
        return None if value is None else float(value)


def columns() -> list[dataclasses.Field[Any]]:
    """The row's columns with their metadata, in order."""
    return list(dataclasses.fields(Row))
