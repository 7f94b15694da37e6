"""How far MOS without a reference agrees with PESQ, for telephone speech: nothing was fitted to it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from bench.measure import Measurement
from earwitness.ear.hear import hear
from earwitness.score.estimate import estimate
from earwitness.score.kind import Evidence, figure
from earwitness.score.listening import listening_quality
from earwitness.score.scorers import scorer
from earwitness.score.voip_metrics import LOST, RECEIVED
from earwitness.speech.codecs.base import packet_samples
from earwitness.speech.codecs.registry import codec
from earwitness.speech.reference import speech
from testing.ear.traces import trace_of

SPECS = ("g711u", "gsm", "speex", "opus:24000")
LOSS = (0.0, 0.01, 0.03, 0.06, 0.12, 0.2)
BURSTS = (1.0, 3.0)
SPEAKERS = ("allison-10s", "carlo-10s")
MODELS = ("dnsmos", "plcmos")
"""Of the sound; beside them is the E-model's MOS-LQE, of the packets."""


@dataclass(frozen=True)
class Case:
    """One call: its conditions, and what each method gives."""

    spec: str
    loss: float
    pesq: float
    estimates: dict[str, float]
    seconds: dict[str, float]


def bench_agreement() -> list[Measurement]:
    """Correlation with PESQ over all calls, and within each codec and speaker; with a bootstrap interval of 95 %."""
    cases = list(_cases())
    found = []
    for name in (*MODELS, "mos_lqe"):
        pairs = np.array([(case.pesq, case.estimates[name]) for case in cases])
        low, high = _interval(pairs)
        error = float(np.sqrt(np.mean((pairs[:, 1] - pairs[:, 0]) ** 2)))
        within = _within(cases, name)
        note = (
            f"95 % {low:.2f} to {high:.2f}, n {len(cases)}; rank {_rank(pairs):.2f}; RMSE {error:.2f} MOS; by codec "
            + ", ".join(f"{spec} {r:.2f}" for spec, r in within.items())
        )
        found.append(Measurement(f"r of {name} with MOS-LQO", _r(pairs), "", note=note))
        clean = [case.estimates[name] for case in cases if case.loss == 0.0]
        worst = [case.estimates[name] for case in cases if case.loss == max(LOSS)]
        found.append(
            Measurement(
                f"{name} without loss, mean",
                float(np.mean(clean)),
                "MOS",
                note=f"{min(clean):.2f} to {max(clean):.2f}; at 20 % loss {np.mean(worst):.2f}",
            )
        )
        took = np.mean([case.seconds[name] for case in cases])
        found.append(Measurement(f"{name} of 10 s, processor time", 1000.0 * float(took), "ms"))
    return found


def _cases() -> Iterator[Case]:
    for spec, loss, burst, speaker, seed in product(SPECS, LOSS, BURSTS, SPEAKERS, range(2)):
        if loss == 0.0 and (burst > 1.0 or seed):
            continue
        yield _case(spec, loss, burst, speaker, seed)


def _case(spec: str, loss: float, burst: float, speaker: str, seed: int) -> Case:
    of = codec(spec)
    said = speech(speaker, of.sample_rate).samples
    lost = _lost(-(-len(said) // packet_samples(of)), loss, burst, seed)
    heard = hear(trace_of(of, said, lost=np.flatnonzero(lost).tolist()), of, "fixed:60")
    pesq = listening_quality(said, heard.audio, heard.sample_rate).mos_lqo
    evidence = Evidence(heard=heard.audio, sample_rate=heard.sample_rate)
    estimates, seconds = {}, {}
    for name in MODELS:
        begin = time.process_time()
        estimates[name] = figure(scorer(name), evidence)
        seconds[name] = time.process_time() - begin
    begin = time.process_time()
    found = estimate(np.where(lost, LOST, RECEIVED), of.packet_ms, spec)
    seconds["mos_lqe"] = time.process_time() - begin
    assert found.mos_lqe is not None
    return Case(spec, loss, pesq, {**estimates, "mos_lqe": found.mos_lqe}, seconds)


def _lost(count: int, loss: float, burst: float, seed: int) -> np.ndarray:
    """Which packets are lost: a two-state chain with this loss ratio and mean run length."""
    rng = np.random.default_rng(seed)
    stay = 1.0 - 1.0 / max(burst, 1.0 / (1.0 - loss))
    enter = loss * (1.0 - stay) / (1.0 - loss)
    draws, lost, now = rng.random(count), np.zeros(count, dtype=bool), False
    for index in range(1, count):
        now = bool(draws[index] < (stay if now else enter))
        lost[index] = now
    return lost


def _r(pairs: np.ndarray) -> float:
    return float(np.corrcoef(pairs.T)[0, 1])


def _rank(pairs: np.ndarray) -> float:
    return _r(np.argsort(np.argsort(pairs, axis=0), axis=0).astype(np.float64))


def _interval(pairs: np.ndarray, times: int = 2000) -> tuple[float, float]:
    rng = np.random.default_rng(0)
    drawn = [_r(pairs[rng.integers(0, len(pairs), len(pairs))]) for _ in range(times)]
    return float(np.quantile(drawn, 0.025)), float(np.quantile(drawn, 0.975))


def _within(cases: list[Case], name: str) -> dict[str, float]:
    return {
        spec: _r(np.array([(case.pesq, case.estimates[name]) for case in cases if case.spec == spec])) for spec in SPECS
    }
