"""The ear: speed, its prediction of the study's recordings, and what its own buffer gains over fixed ones."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from bench.measure import Measurement
from earwitness.arrays import F64, Pcm
from earwitness.ear.adaptive import Adaptive
from earwitness.ear.base import JitterBuffer
from earwitness.ear.buffers import buffer
from earwitness.ear.frames import frames_of
from earwitness.ear.levels import quiet_frames
from earwitness.ear.listen import choose_stream, listen_to_capture
from earwitness.ear.payload import frame_bytes
from earwitness.ear.replay import replay
from earwitness.replay.hearing import MISSED_TOO_MUCH
from earwitness.score.kind import ScorerRefused
from earwitness.score.pesq import pesq_nb, samples_as_published
from earwitness.speech.wav import read_wav
from earwitness.trace.capture import read_capture
from earwitness.trace.rtcp import missed_by_capture
from testing.published.folder import PUBLISHED

RAW = PUBLISHED / "05-data" / "Sample-Raw-Data"
REFERENCE = PUBLISHED / "02-data-collection-steps" / "caller" / "audio-samples" / "prior-work-jithin-audio.wav"
SPEED = {"g711u": 40.0, "gsm": 60.0, "speex": 60.0, "opus": 150.0}
PREDICTION = {"g711u": (0.98, 0.08), "gsm": (0.98, 0.05), "speex": (0.98, 0.08), "opus": (0.99, 0.11)}
FIXED = (60, 100, 150, 200, 300)
ORACLE = (200, 250, 300, 350, 400)


def _calls(*, arrived: float = 0.0) -> Iterator[tuple[Path, str]]:
    """The Tor calls at the caller whose capture has what the phone reports to have received, with their true codec, of
    which at least the share `arrived` of the packets arrived."""
    for path in sorted((RAW / "Tor").glob("*/*/caller/data/test_pcaps/*.pcap")):
        capture = read_capture(path)
        if not capture.received_by("10.8.0.2") or not capture.sent_by("10.8.0.2"):
            continue
        chosen = choose_stream(capture)
        sequence = chosen.trace.sequence
        whole = len(np.unique(sequence)) >= arrived * (np.ptp(sequence) + 1)
        if whole and (missed_by_capture(capture, chosen.heard) or 0.0) < MISSED_TOO_MUCH:
            yield path, chosen.heard.codec


def _recording(path: Path) -> Path:
    return path.parents[1] / "test_caller_recordings" / f"caller_recording_{path.stem.rsplit('_', 1)[1]}.wav"


def _absent(what: str) -> list[Measurement]:
    return [Measurement(f"{what}: the published data is not here", 0.0, "", note="set EARWITNESS_PUBLISHED")]


def _best_ms(work: Callable[[], object], repeats: int = 15, least_s: float = 0.5) -> float:
    """Processor time, the least of several runs, ms: what one core takes that does nothing else.

    Of short work as many as fill `least_s`, because a busy neighbour slows a core for a tenth of a second at a time.
    """
    took: list[float] = []
    while len(took) < repeats or sum(took) < least_s:
        begin = time.process_time()
        work()
        took.append(time.process_time() - begin)
    return 1000.0 * min(took)


def _heard(path: Path, reference: Pcm) -> object:
    return listen_to_capture(read_capture(path), ["pjmedia"], reference=reference)


def bench_speed() -> list[Measurement]:
    """A 30 s call from the capture file to the sound, and the buffers alone; worst of three calls a codec."""
    if not RAW.is_dir():
        return _absent("speed")
    reference = read_wav(REFERENCE)[0]
    results: list[Measurement] = []
    calls = list(_calls())
    for codec, bar in SPEED.items():
        paths = [path for path, name in calls if name == codec][:3]
        worst = max(_best_ms(partial(_heard, path, reference)) for path in paths)
        results.append(Measurement(f"{codec}: capture to sound, 30 s call", worst, "ms", bar))
    chosen = choose_stream(read_capture(next(path for path, name in calls if name == "g711u")))
    frames = frames_of(chosen.trace, chosen.codec)
    quiet = quiet_frames(frames, frame_bytes(chosen.trace, frames, reference))
    for spec in ("fixed:100", "pjmedia", "adaptive", "oracle:100"):
        ear = buffer(spec)
        took = _best_ms(partial(replay, chosen.trace, frames, ear, None, quiet))
        results.append(
            Measurement(f"{spec}: the buffer alone, G.711", took, "ms", 5.0 if "oracle" not in spec else None)
        )
    return results


def _predict(path: Path) -> tuple[float, float] | None:
    """Predicted and real MOS-LQO of a call, both against the reference as the study's program read it."""
    said = samples_as_published(REFERENCE)
    heard = listen_to_capture(read_capture(path), ["pjmedia"], reference=read_wav(REFERENCE)[0])[0]
    try:
        real = pesq_nb(said, samples_as_published(_recording(path))).mos_lqo
        return pesq_nb(said, heard.audio).mos_lqo, real
    except ScorerRefused:
        return None


def bench_prediction() -> list[Measurement]:
    """PESQ predicted from the packets against PESQ of the recordings that the phones made (Tor, at the caller)."""
    if not RAW.is_dir():
        return _absent("prediction")
    results: list[Measurement] = []
    calls = list(_calls())
    with ProcessPoolExecutor(2) as pool:
        for codec, (least_r, most_rmse) in PREDICTION.items():
            paths = [path for path, name in calls if name == codec]
            pairs = np.array([pair for pair in pool.map(_predict, paths) if pair is not None])
            r = float(np.corrcoef(pairs.T)[0, 1])
            rmse = float(np.sqrt(np.mean(np.diff(pairs, axis=1) ** 2)))
            results.append(
                Measurement(f"{codec}: correlation", r, "", least_r, at_most=False, note=f"n = {len(pairs)}")
            )
            results.append(Measurement(f"{codec}: RMSE", rmse, "MOS-LQO", most_rmse, note=f"n = {len(pairs)}"))
    return results


def _curve(path: Path, ears: Sequence[str | JitterBuffer]) -> list[tuple[float, float]]:
    """(mouth-to-ear ms, MOS-LQO) of each ear."""
    reference = read_wav(REFERENCE)[0]
    points = []
    for heard in listen_to_capture(read_capture(path), ears, reference=reference):
        try:
            points.append((heard.mouth_to_ear_mean_ms, pesq_nb(reference, heard.audio).mos_lqo))
        except ScorerRefused:
            points.append((heard.mouth_to_ear_mean_ms, 1.0))
    return points


def _beside_fixed(ear: F64, fixed: F64) -> tuple[float, float, float]:
    """How an ear does beside the fixed ones over the same calls: MOS above their curve at its mean delay, share of
    calls above 3.0 less fixed:200's, and by how much less its mean delay is, ms. (n, 2) and (n, fixed, 2)."""
    mean, curve = ear.mean(axis=0), fixed.mean(axis=0)
    gain = mean[1] - np.interp(mean[0], curve[:, 0], curve[:, 1])
    at_200 = fixed[:, FIXED.index(200)]
    share = np.mean(ear[:, 1] > 3.0) - np.mean(at_200[:, 1] > 3.0)
    return float(gain), float(share), float(at_200[:, 0].mean() - mean[0])


def _tabled(ears: Sequence[JitterBuffer]) -> tuple[list[tuple[Path, str]], F64, F64]:
    """The calls; the points of `ears` (n, ears, 2) and of the fixed buffers (n, fixed, 2)."""
    # What was lost on the way is no matter of buffers.
    calls = list(_calls(arrived=0.95))
    every = [*ears, *(buffer(f"fixed:{ms}") for ms in FIXED)]
    with ProcessPoolExecutor(2) as pool:
        table = np.array(list(pool.map(partial(_curve, ears=every), [path for path, _ in calls])))
    return calls, table[:, : len(ears)], table[:, len(ears) :]


def bench_tradeoff() -> list[Measurement]:
    """The adaptive buffer above the curve of the fixed ones at equal mean delay, and beside fixed:200."""
    if not RAW.is_dir():
        return _absent("trade-off")
    results: list[Measurement] = []
    ears = [Adaptive(), Adaptive(worth_ms=50.0)]
    calls, points, fixed = _tabled([*ears, *(buffer(f"oracle:{ms}") for ms in ORACLE)])
    for codec in SPEED:
        rows = np.array([name == codec for _, name in calls])
        for place, ear in enumerate(ears):
            gain, share, less = _beside_fixed(points[rows, place], fixed[rows])
            note = f"n = {rows.sum()}, at {points[rows, place, 0].mean():.0f} ms"
            results.append(
                Measurement(f"{codec}: {ear.spec}: gain over fixed at equal delay", gain, "MOS", 0.0, False, note)
            )
            if place == 0:
                mean = points[rows].mean(axis=0)
                best = np.interp(mean[0, 0], mean[len(ears) :, 0], mean[len(ears) :, 1])
                results.append(
                    Measurement(f"{codec}: below the oracle at equal delay", float(best - mean[0, 1]), "MOS")
                )
                results.append(Measurement(f"{codec}: share above 3.0 less fixed:200's", share, "", 0.0, False, note))
                results.append(Measurement(f"{codec}: delay less than fixed:200's", less, "ms", 0.0, False, note))
    return results


CANDIDATES = (
    Adaptive(),
    Adaptive(worth_ms=17.0),
    Adaptive(worth_ms=50.0),
    Adaptive(spare_ms=110.0),
    Adaptive(worth_ms=22.0, late_run_ms=60.0),
    Adaptive(worth_ms=27.0, late_run_ms=60.0),
    Adaptive(worth_ms=22.0, hurry_ms=60.0, memory_s=12.0),
    Adaptive(worth_ms=22.0, late_run_ms=20.0, spare_ms=30.0, hurry_ms=60.0, memory_s=12.0),
)
"""What the settings of `adaptive` are chosen from."""


def bench_crossvalidation() -> list[Measurement]:
    """The settings of `adaptive` chosen on half of the places and tested on the other half, for every way to halve."""
    if not RAW.is_dir():
        return _absent("cross-validation")
    calls, points, fixed = _tabled(CANDIDATES)
    codec = np.array([name for _, name in calls])
    place = np.array([path.parts[-5] for path, _ in calls])
    places = sorted(set(place.tolist()))
    tested: dict[str, list[tuple[float, float, float]]] = {name: [] for name in SPEED}
    for half in itertools.combinations(places, len(places) // 2):
        chosen_on = np.isin(place, half)
        worth = []
        for index in range(len(CANDIDATES)):
            rows = [chosen_on & (codec == name) for name in SPEED]
            beside = [_beside_fixed(points[one, index], fixed[one]) for one in rows]
            # The mean gain, less what the bar would miss: a gain, no fewer calls above 3.0, no more delay.
            missed = [3 * min(gain, 0.0) + min(share, 0.0) + min(less, 0.0) / 100 for gain, share, less in beside]
            worth.append(float(np.mean([gain for gain, _, _ in beside]) + np.sum(missed)))
        best = int(np.argmax(worth))
        for name in SPEED:
            rest = ~chosen_on & (codec == name)
            tested[name].append(_beside_fixed(points[rest, best], fixed[rest]))
    results: list[Measurement] = []
    for name, found in tested.items():
        gain, share, less = np.array(found).T
        note = f"{len(found)} halves; least {gain.min():.2f}, below 0 in {np.mean(gain < 0):.1%}"
        results.append(Measurement(f"{name}: gain where not chosen on", float(gain.mean()), "MOS", 0.0, False, note))
        note = f"below 0 in {np.mean(share < 0):.0%}"
        results.append(Measurement(f"{name}: share less fixed:200's", float(share.mean()), "", 0.0, False, note))
        note = f"below 0 in {np.mean(less < 0):.0%}"
        results.append(Measurement(f"{name}: delay less than fixed:200's", float(less.mean()), "ms", 0.0, False, note))
    return results
