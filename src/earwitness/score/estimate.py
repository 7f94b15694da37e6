"""Quality estimated without a reference, from the fate of each packet: the E-model (ITU-T G.107) in RTCP XR's terms.

These are estimates from network parameters: ITU-T P.800.1 names them MOS-LQE (listening) and MOS-CQE (conversation),
RFC 3611 4.7.5 MOS-LQ and MOS-CQ. They are not MOS-LQO, which is measured on the sound itself: two calls of equal loss
get equal estimates, whatever was said in the packets that were lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earwitness.errors import InputError
from earwitness.score.emodel import EModel, e_model
from earwitness.score.voip_metrics import VoipMetrics, burst_ratio_of, voip_metrics

MOST_LOSS, MOST_BURST_RATIO = 0.2, 8.0
"""G.107 (table 3) gives the E-model for loss up to 20 % and burst ratios up to 8."""


@dataclass(frozen=True)
class Estimate:
    """Estimated quality of one direction; None: unknown, and `reason` says why."""

    codec: str
    metrics: VoipMetrics
    burst_ratio: float
    """BurstR (G.107 3.5) of lost and discarded packets together."""
    r_factor: float | None
    """R, 0..100, with the delay; None without a delay."""
    r_listening: float | None
    """R without the delay."""
    mos_lqe: float | None
    """Estimated listening quality, 1..4.5: RFC 3611's MOS-LQ."""
    mos_cqe: float | None
    """Estimated conversational quality, 1..4.5: RFC 3611's MOS-CQ."""
    mouth_to_ear_ms: float | None
    """The delay that R counts."""
    delay_basis: str
    """What that delay consists of."""
    round_trip_ms: float | None
    end_system_ms: float | None
    """RFC 3611 4.7.3: what the ends add, by packetisation, codec and jitter buffer."""
    doubt: str = ""
    """Why the estimate may be wrong; empty if there is no reason."""
    reason: str = ""
    """Why a figure is missing; empty if none is."""

    def record(self) -> dict[str, Any]:
        """One JSON record."""
        found = self.metrics
        return {
            "codec": self.codec,
            "packets": found.packets,
            "loss_rate": found.loss_rate,
            "discard_rate": found.discard_rate,
            "burst_density": found.burst_density,
            "gap_density": found.gap_density,
            "burst_duration_ms": found.burst_duration_ms,
            "gap_duration_ms": found.gap_duration_ms,
            "burst_ratio": self.burst_ratio,
            "round_trip_delay_ms": self.round_trip_ms,
            "end_system_delay_ms": self.end_system_ms,
            "mouth_to_ear_ms": self.mouth_to_ear_ms,
            "mouth_to_ear_basis": self.delay_basis,
            "r_factor": self.r_factor,
            "r_listening": self.r_listening,
            "estimated_mos_lqe": self.mos_lqe,
            "estimated_mos_cqe": self.mos_cqe,
            "estimate_doubt": self.doubt,
            "estimate_refused": self.reason,
        }


def estimate(
    fates: NDArray[np.integer],
    packet_ms: float,
    codec: str,
    *,
    network_delay_ms: float | None = None,
    end_system_delay_ms: float | None = None,
    round_trip_ms: float | None = None,
    concealed: bool = True,
) -> Estimate:
    """Estimate one direction's quality from the fate of each packet, (n,) in order of sequence
    (`earwitness.score.voip_metrics`: 0 received, 1 lost, 2 discarded).

    Args:
        fates: discarded packets count as lost ones: the decoder had neither.
        packet_ms: speech in a packet, for durations.
        codec: specification (`opus:24000,fec=1`); one without E-model factors gets no figure.
        network_delay_ms: one way; None: unknown, then half of `round_trip_ms` counts, or nothing.
        end_system_delay_ms: what both ends add: packetisation, look-ahead, jitter buffer.
        round_trip_ms: between the two RTP interfaces (RTCP).
        concealed: whether the receiver conceals losses (it matters for G.711).

    Raises `ValueError` for values out of range, never for an unknown codec.
    """
    if not 0.0 < packet_ms < 1e4 or any(
        value is not None and not 0.0 <= value < 1e9 for value in (network_delay_ms, end_system_delay_ms, round_trip_ms)
    ):
        raise ValueError("packet_ms is above 0, and delays are not negative")
    metrics, bursty = voip_metrics(fates, packet_ms), burst_ratio_of(fates)
    # G.107 (table 3) begins at random loss; losses more regular than that are no better for it.
    rated_burst = max(1.0, bursty)
    delay, basis = _delay(network_delay_ms, end_system_delay_ms, round_trip_ms)
    listening, talking, reason = _rated(metrics, rated_burst, codec, delay, concealed)
    return Estimate(
        codec=codec,
        metrics=metrics,
        burst_ratio=bursty,
        r_factor=None if talking is None else _limited(talking),
        r_listening=None if listening is None else _limited(listening),
        mos_lqe=None if listening is None else listening.mos_cqe,
        mos_cqe=None if talking is None else talking.mos_cqe,
        mouth_to_ear_ms=delay,
        delay_basis=basis,
        round_trip_ms=round_trip_ms,
        end_system_ms=end_system_delay_ms,
        doubt="" if listening is None else _doubt(metrics, bursty),
        reason=reason,
    )


def _rated(
    metrics: VoipMetrics, bursty: float, codec: str, delay: float | None, concealed: bool
) -> tuple[EModel | None, EModel | None, str]:
    """The ratings without and with the delay, and why one is missing."""
    if not metrics.packets:
        return None, None, "there are no packets"
    missing = min(1.0, metrics.loss_rate + metrics.discard_rate)
    try:
        listening = e_model(codec, loss_ratio=missing, mouth_to_ear_ms=0.0, burst_ratio=bursty, concealed=concealed)
    except InputError as error:
        return None, None, f"{error.on}: {error.happened}"
    if delay is None:
        return listening, None, "no conversational quality: no delay is known"
    talking = e_model(codec, loss_ratio=missing, mouth_to_ear_ms=delay, burst_ratio=bursty, concealed=concealed)
    return listening, talking, ""


def _delay(network: float | None, ends: float | None, round_trip: float | None) -> tuple[float | None, str]:
    """The mouth-to-ear delay, ms, and what it consists of."""
    halved = network is None and round_trip is not None
    way = round_trip / 2.0 if halved and round_trip is not None else network
    if way is None and ends is None:
        return None, ""
    parts = ("half the round trip" if halved else "network") if way is not None else ""
    if ends is None:
        return way, f"{parts} only: the ends' delay is unknown, so the conversation is at best this good"
    if way is None:
        return ends, "end systems only: the network's delay is unknown, so the conversation is at best this good"
    return way + ends, f"{parts} and end systems"


def _doubt(metrics: VoipMetrics, bursty: float) -> str:
    missing = metrics.loss_rate + metrics.discard_rate
    if missing <= MOST_LOSS and bursty <= MOST_BURST_RATIO:
        return ""
    return (
        f"{missing:.0%} missing with a burst ratio of {bursty:.1f} is beyond what the E-model is given for"
        f" ({MOST_LOSS:.0%}, {MOST_BURST_RATIO:.0f})"
    )


def _limited(rated: EModel) -> float:
    return min(100.0, max(0.0, rated.r))
