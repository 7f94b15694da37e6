"""Estimate E-model factors (Ie, Bpl) of codecs that G.113 does not cover, after the method of ITU-T P.834.

Shipped speech is coded and decoded with random loss of 20 ms packets; PESQ's MOS-LQO becomes a rating by G.107
equation B-4; a line through two codecs whose Ie G.113 gives (G.711: 0, GSM 06.10: 20) takes PESQ's ratings to the
E-model's scale; Bpl is the least-squares fit over the loss ratios. Lost frames are made up by the codec's own
concealment, else by repeating the last frame and fading it out over three.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar

from earwitness.arrays import Pcm
from earwitness.score.emodel import r_of_mos
from earwitness.score.pesq import pesq_nb
from earwitness.speech.codecs.base import Codec, encode_packets, packet_samples
from earwitness.speech.codecs.registry import codec
from earwitness.speech.reference import speech, speech_names

LOSS_PERCENT = (1.0, 2.0, 3.0, 5.0, 8.0, 12.0)
SEEDS = range(4)
SPECS = ("g711u", "gsm", "speex", "opus:24000", "opus:24000,fec=1,loss=5")


def main() -> None:
    """Print Ie and Bpl of each codec."""
    direct = {spec: mean_rating(codec(spec), 0.0) for spec in SPECS}
    scale = 20.0 / (direct["g711u"] - direct["gsm"])
    for spec in SPECS:
        ie = max(0.0, (direct["g711u"] - direct[spec]) * scale)
        lossy = np.array([max(ie, (direct["g711u"] - mean_rating(codec(spec), p)) * scale) for p in LOSS_PERCENT])
        percent = np.array(LOSS_PERCENT)

        def misfit(bpl: float, ie: float = ie, lossy: np.ndarray = lossy, percent: np.ndarray = percent) -> float:
            return float(np.sum((ie + (95.0 - ie) * percent / (percent + bpl) - lossy) ** 2))

        bpl = minimize_scalar(misfit, bounds=(1.0, 100.0), method="bounded").x
        rms = np.sqrt(misfit(bpl) / len(percent))
        print(f"{spec}: Ie {ie:.1f}, Bpl {bpl:.1f} (rms {rms:.1f}), Ie,eff {np.round(lossy, 1).tolist()}")


def mean_rating(of: Codec, loss_percent: float) -> float:
    """PESQ's MOS-LQO as a rating R, mean over the shipped speech and seeds."""
    ratings = []
    for name in speech_names():
        reference = speech(name, of.sample_rate).samples
        for seed in SEEDS if loss_percent else range(1):
            heard = transmit(of, reference, loss_percent, seed)
            ratings.append(r_of_mos(pesq_nb(reference, heard, of.sample_rate).mos_lqo))
    return float(np.mean(ratings))


def transmit(of: Codec, reference: Pcm, loss_percent: float, seed: int) -> Pcm:
    """Coded, packets lost at random, decoded with concealment; as long as the reference."""
    payloads = encode_packets(of, reference)
    lost = np.random.default_rng(seed).random(len(payloads)) * 100.0 < loss_percent
    decoder, out, missing = of.decoder(), [np.zeros(packet_samples(of), np.int16)], 0
    for index, payload in enumerate(payloads):
        if not lost[index]:
            missing = 0
            out.append(np.concatenate([decoder.decode(frame) for frame in of.split(payload)]))
            continue
        follows = index + 1 < len(payloads) and not lost[index + 1]
        made = decoder.recover(payloads[index + 1]) if follows else None
        made = decoder.conceal() if made is None else made
        missing += 1
        out.append((out[-1] * max(0.0, 1.0 - missing / 4.0)).astype(np.int16) if made is None else made)
    return np.concatenate(out[1:])[: len(reference)]


if __name__ == "__main__":
    main()
