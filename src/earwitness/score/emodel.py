"""The E-model: conversational quality from codec, loss and delay. Source: ITU-T G.107 (06/2015), G.113 Appendix I.

It covers what PESQ cannot: PESQ rates what arrived but not how long it took, and a call with perfect sound that is half
a second late is a bad conversation.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log2, log10, sqrt

from earwitness.score.impairments import impairment


@dataclass(frozen=True)
class Planning:
    """Transmission parameters, with the default values of G.107 table 2. Levels in dB, times in ms."""

    send_loudness_rating: float = 8.0
    receive_loudness_rating: float = 2.0
    sidetone_masking_rating: float = 15.0
    listener_sidetone_rating: float = 18.0
    send_d_factor: float = 3.0
    talker_echo_loudness_rating: float = 65.0
    weighted_echo_path_loss: float = 110.0
    quantizing_distortion_units: float = 1.0
    circuit_noise_dbm0p: float = -70.0
    noise_floor_dbmp: float = -64.0
    room_noise_send_dba: float = 35.0
    room_noise_receive_dba: float = 35.0
    advantage: float = 0.0
    delay_sensitivity: float = 1.0
    minimal_perceivable_delay_ms: float = 100.0


@dataclass(frozen=True)
class EModel:
    """The rating and its deductions: R = ro - simultaneous - delay - equipment + advantage."""

    r: float
    """Transmission rating R, 0..100 for telephone speech."""
    mos_cqe: float
    """R as a mean opinion score, 1..4.5 (G.107 Annex B)."""
    ro: float
    """Basic signal-to-noise ratio."""
    simultaneous: float
    """Is: loudness, sidetone, quantisation."""
    delay: float
    """Id: talker echo, listener echo, and too long a delay."""
    equipment: float
    """Ie,eff: codec and lost packets."""


def e_model(
    codec_name: str,
    *,
    loss_ratio: float,
    mouth_to_ear_ms: float,
    burst_ratio: float = 1.0,
    concealed: bool = True,
    planning: Planning | None = None,
) -> EModel:
    """Rate a call. `codec_name` is Earwitness's (`opus:24000,fec=1`); raises `InputError` if it is unknown.

    `loss_ratio` 0..1 is what the decoder missed: lost in the network or too late. `mouth_to_ear_ms` is used for G.107's
    T and Ta, twice that for Tr. `burst_ratio` is 1 for random loss, above 1 for bursts (G.107 3.5). `concealed`:
    whether the receiver conceals losses (it matters for G.711, G.113 table I.4).
    """
    if not (0.0 <= loss_ratio <= 1.0 and mouth_to_ear_ms >= 0.0 and burst_ratio > 0.0):
        raise ValueError(f"loss {loss_ratio}, delay {mouth_to_ear_ms} ms or burst ratio {burst_ratio} is out of range")
    plan = planning or Planning()
    noise = _noise(plan)
    ro = 15.0 - 1.5 * (plan.send_loudness_rating + noise)
    simultaneous = _simultaneous(plan, noise, ro)
    delay = _delay(plan, noise, ro, mouth_to_ear_ms)
    codec = impairment(codec_name, concealed=concealed)
    lost = 100.0 * loss_ratio
    equipment = codec.ie + (95.0 - codec.ie) * lost / (lost / burst_ratio + codec.bpl)
    r = ro - simultaneous - delay - equipment + plan.advantage
    return EModel(r, mos_cqe_of_r(r), ro, simultaneous, delay, equipment)


def mos_cqe_of_r(r: float) -> float:
    """G.107 equation B-4. (Between R 0 and 6.5 the cubic falls below 1, the lowest possible score; 1 is returned.)"""
    if r <= 0.0:
        return 1.0
    if r >= 100.0:
        return 4.5
    return max(1.0, 1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6)


def r_of_mos(mos: float) -> float:
    """The inverse of equation B-4 by bisection over R 6.5..100; the limits are returned for MOS outside 1..4.5."""
    low, high = 6.5, 100.0
    for _ in range(60):
        middle = (low + high) / 2.0
        low, high = (middle, high) if mos_cqe_of_r(middle) < mos else (low, middle)
    return (low + high) / 2.0


def _noise(plan: Planning) -> float:
    """No, dBm0p: all noise sources at the 0 dBr point (G.107 equations 7-3 to 7-7)."""
    olr = plan.send_loudness_rating + plan.receive_loudness_rating
    beyond = plan.room_noise_send_dba - olr - plan.send_d_factor - 14.0
    sender = plan.room_noise_send_dba - plan.send_loudness_rating - plan.send_d_factor - 100.0 + 0.004 * beyond**2
    heard = plan.room_noise_receive_dba + 10.0 * log10(1.0 + 10.0 ** ((10.0 - plan.listener_sidetone_rating) / 10.0))
    receiver = plan.receive_loudness_rating - 121.0 + heard + 0.008 * (heard - 35.0) ** 2
    floor = plan.noise_floor_dbmp + plan.receive_loudness_rating
    return _power_sum(plan.circuit_noise_dbm0p, sender, receiver, floor)


def _simultaneous(plan: Planning, noise: float, ro: float) -> float:
    """Is = Iolr + Ist + Iq (G.107 equations 7-8 to 7-17)."""
    olr = plan.send_loudness_rating + plan.receive_loudness_rating
    x = (olr + 0.2 * (64.0 + noise - plan.receive_loudness_rating)) / 8.0
    too_loud = 20.0 * ((1.0 + x**8) ** (1.0 / 8.0) - x)
    q = 37.0 - 15.0 * log10(plan.quantizing_distortion_units)
    g = 1.07 + 0.258 * q + 0.0602 * q**2
    quantisation = 15.0 * log10(
        1.0 + 10.0 ** ((ro - 100.0) / 15.0 + 46.0 / 8.4 - g / 9.0) + 10.0 ** (46.0 / 30.0 - g / 40.0)
    )
    return float(too_loud + _sidetone(plan, 0.0) + quantisation)


def _sidetone(plan: Planning, delay_ms: float) -> float:
    """Ist (G.107 equations 7-10 and 7-11)."""
    echoed = exp(-delay_ms / 4.0) * 10.0 ** (-plan.talker_echo_loudness_rating / 10.0)
    s = -10.0 * log10(10.0 ** (-plan.sidetone_masking_rating / 10.0) + echoed)
    return float(
        12.0 * (1.0 + ((s - 13.0) / 6.0) ** 8) ** (1.0 / 8.0)
        - 28.0 * (1.0 + ((s + 1.0) / 19.4) ** 35) ** (1.0 / 35.0)
        - 13.0 * (1.0 + ((s - 3.0) / 33.0) ** 13) ** (1.0 / 13.0)
        + 29.0
    )


def _delay(plan: Planning, noise: float, ro: float, one_way_ms: float) -> float:
    """Id = Idte + Idle + Idd (G.107 equations 7-18 to 7-28)."""
    return (
        _talker_echo(plan, noise, one_way_ms)
        + _excess((ro - (10.5 * (plan.weighted_echo_path_loss + 7.0) * (2.0 * one_way_ms + 1.0) ** -0.25)), 169.0)
        + _long_delay(plan, one_way_ms)
    )


def _talker_echo(plan: Planning, noise: float, one_way_ms: float) -> float:
    if one_way_ms < 1.0:
        return 0.0
    t = one_way_ms
    audible = (
        plan.talker_echo_loudness_rating - 40.0 * log10((1.0 + t / 10.0) / (1.0 + t / 150.0)) + 6.0 * exp(-0.3 * t**2)
    )
    sidetone = _sidetone(plan, t)
    if plan.sidetone_masking_rating < 9.0:
        audible += sidetone / 2.0
    without_echo = -1.5 * (noise - plan.receive_loudness_rating)
    with_echo = 80.0 + 2.5 * (audible - 14.0)
    impaired = (_excess(without_echo - with_echo, 100.0) - 1.0) * (1.0 - exp(-t))
    return sqrt(impaired**2 + sidetone**2) if plan.sidetone_masking_rating > 20.0 else impaired


def _long_delay(plan: Planning, one_way_ms: float) -> float:
    """Idd: even without echo, a long delay makes people talk over each other."""
    if one_way_ms <= plan.minimal_perceivable_delay_ms:
        return 0.0
    x = log2(one_way_ms / plan.minimal_perceivable_delay_ms)
    power = 6.0 * plan.delay_sensitivity
    return 25.0 * float((1.0 + x**power) ** (1.0 / power) - 3.0 * (1.0 + (x / 3.0) ** power) ** (1.0 / power) + 2.0)


def _excess(difference: float, curvature: float) -> float:
    """G.107's smooth function that counts a difference only if it is positive."""
    return difference / 2.0 + sqrt(difference**2 / 4.0 + curvature)


def _power_sum(*levels_db: float) -> float:
    return 10.0 * log10(sum(10.0 ** (level / 10.0) for level in levels_db))
