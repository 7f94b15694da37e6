"""The E-model's estimate of what a jitter buffer made of a stream: the same wherever a call is rated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from earwitness.arrays import I64
from earwitness.ear.losses import lost_between
from earwitness.ear.played import Played
from earwitness.score.estimate import Estimate, estimate
from earwitness.score.voip_metrics import fates_of
from earwitness.speech.codecs.base import Codec

NETWORK_ALONE = "g711u"
"""The codec without an impairment of its own, whose concealment is average."""
_UNSEEN = 0.005
"""Share of speech interrupted without a missing packet, from which on an estimate by missing packets is in doubt."""


def estimate_played(played: Played, codec: Codec, rated_as: str = "") -> Estimate:
    """The E-model's estimate of what a buffer made of a stream (`earwitness.score.estimate`).

    `rated_as`: the codec whose factors count, by default its own. Without factors it is rated as G.711 with its losses
    concealed, and that is said.
    """
    spec = rated_as or codec.spec
    rated = rate_played(played, codec, spec)
    if rated.mos_lqe is not None or spec == NETWORK_ALONE or not rated.metrics.packets:
        return rated
    doubt = f"no E-model factors of {spec} are known, so it is rated as G.711: the network's part alone"
    found = rate_played(played, codec, NETWORK_ALONE)
    return replace(found, codec=spec, doubt="; ".join(filter(None, (doubt, found.doubt))))


def rate_played(played: Played, codec: Codec, rated_as: str = "") -> Estimate:
    """The same without a stand-in: no figure for a codec without factors."""
    trace, frames = played.trace, played.played.frames
    rows = _played_rows(played)
    heard = trace.take(rows)
    packet_ms = float(frames.packet_ns[frames.count > 0].mean()) / 1e6 if bool((frames.count > 0).any()) else 20.0
    ends_ms = played.end_system_delay_ms
    whole_ms = played.mouth_to_ear_mean_ms
    known = played.mouth_to_ear_basis != "fastest packet" and whole_ms == whole_ms
    rated = estimate(
        fates_of(heard.sequence, heard.arrived, played.discarded[rows], lost_between(heard)),
        packet_ms,
        rated_as or codec.spec,
        network_delay_ms=max(0.0, whole_ms - ends_ms) if known else None,
        end_system_delay_ms=ends_ms if ends_ms == ends_ms else None,
        round_trip_ms=played.round_trip_ms,
        concealed=played.concealment != "silence",
    )
    if len(played.played.frames.codecs) > 1:
        several = f"the codec changes; rated as {codec.name}"
        rated = replace(rated, doubt="; ".join(filter(None, (rated.doubt, several))))
    if played.malformed:
        refused = "the frames that the decoder refused are not in it"
        rated = replace(rated, doubt="; ".join(filter(None, (rated.doubt, refused))))
    shares = played.shares
    unseen = shares["concealed_ratio"] - shares["lost_ratio"] - shares["late_ratio"] - shares["discarded_ratio"]
    if unseen < _UNSEEN:
        return rated
    emptied = (
        f"{unseen:.1%} of the speech was concealed although its packets were played later, because the buffer ran"
        " empty: the E-model does not see that"
    )
    return replace(rated, doubt="; ".join(filter(None, (rated.doubt, emptied))))


def _played_rows(played: Played) -> I64:
    """The packets sent while the phone played, lost ones among them: from the first to the last that it could hear."""
    trace, outside = played.trace, played.played.outside
    inside = trace.sequence[trace.arrived & ~outside] if len(outside) else trace.sequence[:0]
    if not len(inside):
        return np.arange(len(trace))
    return np.flatnonzero((trace.sequence >= inside.min()) & (trace.sequence <= inside.max()))
