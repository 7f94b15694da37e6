"""Codecs and scores: the ceilings of the shipped speech, and how long coding and PESQ take."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import numpy as np

from bench.measure import Measurement
from earwitness.score.listening import loopback
from earwitness.score.pesq import pesq_nb, pesq_wb
from earwitness.speech.codecs.base import Codec, encode_packets
from earwitness.speech.codecs.registry import codec
from earwitness.speech.reference import speech, speech_names

CEILINGS = {"g711u": 4.3, "g711a": 4.3, "opus:24000": 4.2, "gsm": 3.5, "speex": None}
"""MOS-LQO that each codec reaches without a network, at least, on every shipped speech."""


def bench_ceilings() -> list[Measurement]:
    found = []
    for spec, bar in CEILINGS.items():
        of = codec(spec)
        scores = {name: loopback(of, speech(name, of.sample_rate).samples).pesq.mos_lqo for name in speech_names()}
        note = ", ".join(f"{name} {score:.2f}" for name, score in scores.items())
        found.append(Measurement(f"loop-back MOS-LQO {spec}, least", min(scores.values()), "MOS", bar, False, note))
    return found


def _decode(of: Codec, frames: list[bytes]) -> object:
    return of.decoder().decode_many(frames)


def bench_codec_speed() -> list[Measurement]:
    """Decoding 30 s, which the ear does for every call, and encoding it."""
    found = []
    for spec in ("g711u", "gsm", "speex", "opus:24000", "opus:24000,rate=48000"):
        of = codec(spec)
        said = speech("allison-30s", of.sample_rate, seconds=30).samples
        payloads = encode_packets(of, said)
        frames = [frame for payload in payloads for frame in of.split(payload)]
        decoding = best_of(partial(_decode, of, frames))
        encoding = best_of(partial(encode_packets, of, said), times=2)
        found.append(Measurement(f"decode 30 s of {spec}", decoding, "ms"))
        found.append(Measurement(f"encode 30 s of {spec}", encoding, "ms"))
    return found


def bench_pesq_speed() -> list[Measurement]:
    narrow, wide = (speech("allison-30s", rate, seconds=30).samples for rate in (8000, 16000))
    noisy = [(x + np.random.default_rng(0).normal(0, 40, len(x))).astype(np.int16) for x in (narrow, wide)]
    return [
        Measurement("PESQ narrowband of 30 s", best_of(lambda: pesq_nb(narrow, noisy[0])), "ms"),
        Measurement("PESQ wideband of 30 s", best_of(lambda: pesq_wb(wide, noisy[1])), "ms"),
    ]


def best_of(work: Callable[[], object], times: int = 3) -> float:
    """Least wall time of a few runs, ms."""
    best = float("inf")
    for _ in range(times):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return 1000.0 * best
