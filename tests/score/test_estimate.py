"""MOS estimated from packets alone."""

from __future__ import annotations

import json

import numpy as np
import pytest

from earwitness.score.emodel import e_model
from earwitness.score.estimate import estimate
from earwitness.score.voip_metrics import DISCARDED, LOST, burst_ratio_of

CLEAR = np.zeros(1500, dtype=np.int8)


def lossy(every: int, fate: int = LOST) -> np.ndarray:
    packets = CLEAR.copy()
    packets[every // 2 :: every] = fate
    return packets


def test_a_clear_call_is_the_e_model_s_best() -> None:
    found = estimate(CLEAR, 20.0, "g711u", network_delay_ms=0.0, end_system_delay_ms=0.0)
    assert found.r_factor == found.r_listening == pytest.approx(93.2, abs=0.05)
    assert found.mos_lqe == found.mos_cqe == pytest.approx(4.41, abs=0.005)
    assert (found.reason, found.doubt) == ("", "")


@pytest.mark.parametrize("fate", [LOST, DISCARDED])
def test_lost_and_discarded_packets_cost_the_same(fate: int) -> None:
    packets = lossy(20, fate)
    found = estimate(packets, 20.0, "gsm", network_delay_ms=100.0, end_system_delay_ms=80.0)
    assert found.burst_ratio == burst_ratio_of(packets) < 1  # rated as random losses, where G.107's range begins
    expected = e_model("gsm", loss_ratio=0.05, mouth_to_ear_ms=180.0)
    assert found.r_factor == pytest.approx(expected.r)
    assert found.mos_cqe == pytest.approx(expected.mos_cqe)
    assert found.mos_lqe == pytest.approx(e_model("gsm", loss_ratio=0.05, mouth_to_ear_ms=0.0).mos_cqe)
    assert (found.metrics.loss_rate, found.metrics.discard_rate)[fate == DISCARDED] == pytest.approx(0.05)


def test_delay_costs_conversation_and_not_listening() -> None:
    near = estimate(CLEAR, 20.0, "g711u", network_delay_ms=20.0, end_system_delay_ms=80.0)
    far = estimate(CLEAR, 20.0, "g711u", network_delay_ms=420.0, end_system_delay_ms=80.0)
    assert near.mos_lqe == far.mos_lqe
    assert near.mos_cqe is not None
    assert far.mos_cqe is not None
    assert far.mos_cqe < near.mos_cqe - 1.0


def test_bursts_cost_more_than_single_losses() -> None:
    bursty = CLEAR.copy()
    for begin in range(50, 1500, 100):
        bursty[begin : begin + 5] = LOST
    single, together = (estimate(packets, 20.0, "g711u") for packets in (lossy(20), bursty))
    assert single.metrics.loss_rate == together.metrics.loss_rate
    assert together.mos_lqe is not None
    assert single.mos_lqe is not None
    assert together.mos_lqe < single.mos_lqe


def test_what_the_delay_consists_of_is_told() -> None:
    def told(**delays: float) -> tuple[float | None, str]:
        found = estimate(CLEAR, 20.0, "opus:24000", **delays)  # type: ignore[arg-type]
        assert (found.mos_cqe is None) == (found.mouth_to_ear_ms is None)
        return found.mouth_to_ear_ms, found.delay_basis

    assert told(network_delay_ms=40.0, end_system_delay_ms=70.0) == (110.0, "network and end systems")
    assert told(round_trip_ms=90.0, end_system_delay_ms=70.0) == (115.0, "half the round trip and end systems")
    assert told(network_delay_ms=40.0, round_trip_ms=90.0, end_system_delay_ms=0.0)[0] == 40.0
    alone, basis = told(end_system_delay_ms=70.0)
    assert alone == 70.0
    assert "network's delay is unknown" in basis
    assert told() == (None, "")
    assert "no delay is known" in estimate(CLEAR, 20.0, "gsm").reason


@pytest.mark.parametrize("spec", ["no-such-codec", "opus:-1", ""])
def test_a_codec_without_factors_gets_no_figure_and_the_reason(spec: str) -> None:
    found = estimate(lossy(50), 20.0, spec, network_delay_ms=10.0)
    assert found.mos_lqe is found.mos_cqe is found.r_factor is None
    assert found.reason
    assert found.metrics.loss_rate == pytest.approx(0.02)


def test_beyond_the_e_model_s_range_it_says_so() -> None:
    assert estimate(lossy(10), 20.0, "g711u").doubt == ""
    assert "30% missing" in estimate(np.tile([0, 0, 0, 0, 0, 0, 0, 1, 2, 1], 50), 20.0, "g711u").doubt
    blackout = CLEAR.copy()
    blackout[500:520] = LOST
    assert "burst ratio of 19.7" in estimate(blackout, 20.0, "g711u").doubt
    nothing = estimate(np.full(50, LOST), 20.0, "g711u")
    assert nothing.mos_lqe == pytest.approx(1.18, abs=0.01)
    assert "100% missing" in nothing.doubt
    assert "no packets" in estimate(CLEAR[:0], 20.0, "g711u").reason


def test_the_record_is_json() -> None:
    found = estimate(
        lossy(100, DISCARDED), 20.0, "g711u", round_trip_ms=120.4, network_delay_ms=60.0, end_system_delay_ms=60.0
    )
    record = json.loads(json.dumps(found.record()))
    assert record["estimated_mos_lqe"] == found.mos_lqe
    assert record["discard_rate"] == pytest.approx(0.01)


def test_values_out_of_range_are_refused() -> None:
    for wrong in ({"network_delay_ms": -1.0}, {"round_trip_ms": float("nan")}, {"end_system_delay_ms": 1e12}):
        with pytest.raises(ValueError, match="delays are not negative"):
            estimate(CLEAR, 20.0, "gsm", **wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="packet_ms"):
        estimate(CLEAR, 0.0, "gsm")
