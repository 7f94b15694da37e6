"""MOS estimated from the sound alone, without a reference, by Microsoft's models in the package `speechmos`.

DNSMOS P.835 (Reddy et al. 2022) was trained on ratings of noise suppressors, PLCMOS v2 (Diener et al. 2023) on ratings
of packet-loss concealment, both on wideband speech. They are estimates by neural networks: docs/scores.md says how far
they can be trusted for telephone speech. The package's own functions need librosa; only its weights are used here.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from earwitness.arrays import F32, F64
from earwitness.extras import MissingExtra
from earwitness.score.kind import Evidence, ScorerKind, ScorerRefused
from earwitness.speech.wav import resample

RATE = 16000
MOST_SECONDS = 90.0
_LEAST_SECONDS = 1.0
_WINDOW = 144_160
"""9.01 s, the length that DNSMOS takes."""
_OVERALL = (-0.06766283, 1.11546468, 0.04602535)
"""From the network's overall rating to P.835's scale, highest power first (the package's `get_polyfit_val`)."""
_FFT, _HOP = 512, 256
_RATERS, _RATER_SIZE = 15, 64
"""PLCMOS takes the mean over imagined raters, who are vectors of noise: here always the same ones."""
_FLOOR_DB = 120.0


def dnsmos(evidence: Evidence) -> float:
    """DNSMOS P.835, overall quality 1..5: mean over windows of 9 s, a second apart; a shorter sound is repeated."""
    samples = _prepared(evidence, "DNSMOS")
    repeated = np.resize(samples, max(len(samples), _WINDOW))
    session = _session("dnsmos_models", "sig_bak_ovr.onnx")
    windows = sliding_window_view(repeated, _WINDOW)[::RATE]
    raw = [float(session.run(None, {"input_1": window[np.newaxis]})[0][0][2]) for window in windows]
    return float(np.mean(np.polyval(_OVERALL, raw)))


def plcmos(evidence: Evidence) -> float:
    """PLCMOS v2, quality of concealed speech 1..5."""
    features = log_power(_prepared(evidence, "PLCMOS"))[np.newaxis, np.newaxis]
    session = _session("plcmos_models", "plcmos_v2.onnx")
    raters = np.random.default_rng(0).normal(size=(_RATERS, 1, _RATER_SIZE)).astype(np.float32)
    rated = [session.run(None, {"degraded_audio": features, "rater_embed": rater})[0] for rater in raters]
    return float(np.mean(rated))


def log_power(samples: F32) -> F32:
    """The logarithmic power spectrum (frames, 257) that PLCMOS takes, of (n,) in -1..1; silent bins get a floor."""
    frames = -(-len(samples) // _HOP) + 1
    padded: F64 = np.zeros((frames - 1) * _HOP + _FFT)
    padded[_FFT - _HOP : _FFT - _HOP + len(samples)] = samples
    window = np.hamming(_FFT + 1)[:-1]
    spectrum = np.fft.rfft(sliding_window_view(padded, _FFT)[::_HOP] * window)
    power = spectrum.real**2 + spectrum.imag**2
    heard = power > 0.0
    floor = np.log(power[heard].min()) - _FLOOR_DB / 10.0 * np.log(10.0) if heard.any() else -8.0 * np.log(10.0)
    return (np.log(power, out=np.full_like(power, floor), where=heard) / 20.0).astype(np.float32)


def _prepared(evidence: Evidence, scorer: str) -> F32:
    """What was heard, (n,) in -1..1 at 16 kHz."""
    seconds = len(evidence.heard) / evidence.sample_rate
    if not _LEAST_SECONDS <= seconds <= MOST_SECONDS:
        happened = f"the sound lasts {seconds:.1f} s"
        raise ScorerRefused(happened, f"give {_LEAST_SECONDS:.0f} to {MOST_SECONDS:.0f} s of speech", scorer)
    if not evidence.heard.any():
        raise ScorerRefused("the sound is silent", "there is nothing to rate: check loss and the path", scorer)
    return (resample(evidence.heard, evidence.sample_rate, RATE) / 32768.0).astype(np.float32)


@lru_cache(maxsize=2)
def _session(folder: str, name: str) -> Any:
    """A network, ready to run; on one thread, since many calls are scored side by side."""
    try:
        import onnxruntime

        weights = (files("speechmos") / folder / name).read_bytes()
    except ModuleNotFoundError as error:
        raise MissingExtra(
            "scoring with", folder.partition("_")[0], ("estimate",), ("onnxruntime", "speechmos")
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(weights, options, providers=["CPUExecutionProvider"])


SOUND_MODELS = (
    ScorerKind(
        name="dnsmos",
        summary="estimate without a reference: DNSMOS P.835, overall quality (extra estimate)",
        unit="MOS 1..5",
        heading="DNSMOS",
        score=dnsmos,
    ),
    ScorerKind(
        name="plcmos",
        summary="estimate without a reference: PLCMOS v2, quality of concealed speech (extra estimate)",
        unit="MOS 1..5",
        heading="PLCMOS",
        score=plcmos,
    ),
)
"""To be registered by `earwitness.score.scorers`."""
