"""The ear: speed, its prediction of the study's recordings, and what its own buffer gains over fixed ones."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.measure import Measurement
from earwitness.ear.buffers import buffer
from earwitness.ear.frames import frames_of
from earwitness.ear.levels import quiet_frames
from earwitness.ear.listen import choose, listen
from earwitness.ear.payload import frame_bytes
from earwitness.ear.replay import replay
from earwitness.score.pesq import ScorerRefused, pesq_nb, samples_as_published
from earwitness.speech.wav import read_wav
from earwitness.study.hearing import MISSED_TOO_MUCH
from earwitness.trace.capture import read_capture
from earwitness.trace.rtcp import missed_by_capture

PUBLISHED = Path(os.environ.get("EARWITNESS_PUBLISHED", Path(__file__).resolve().parents[2] / "shared" / "published"))
RAW = PUBLISHED / "05-data" / "Sample-Raw-Data"
REFERENCE = PUBLISHED / "02-data-collection-steps" / "caller" / "audio-samples" / "prior-work-jithin-audio.wav"
SPEED = {"g711u": 40.0, "gsm": 60.0, "speex": 60.0, "opus": 150.0}
PREDICTION = {"g711u": (0.98, 0.08), "gsm": (0.98, 0.05), "speex": (0.98, 0.08), "opus": (0.99, 0.11)}
FIXED = (60, 100, 150, 200, 300)


def _calls() -> Iterator[tuple[Path, str]]:
    """The Tor calls at the caller whose capture has what the phone reports to have received, with their true codec."""
    for path in sorted((RAW / "Tor").glob("*/*/caller/data/test_pcaps/*.pcap")):
        capture = read_capture(path)
        if not capture.received_by("10.8.0.2") or not capture.sent_by("10.8.0.2"):
            continue
        chosen = choose(capture)
        if (missed_by_capture(capture, chosen.heard) or 0.0) < MISSED_TOO_MUCH:
            yield path, chosen.heard.codec


def _recording(path: Path) -> Path:
    return path.parents[1] / "test_caller_recordings" / f"caller_recording_{path.stem.rsplit('_', 1)[1]}.wav"


def _absent(what: str) -> list[Measurement]:
    return [Measurement(f"{what}: the published data is not here", 0.0, "", note="set EARWITNESS_PUBLISHED")]


def _best_ms(work: Callable[[], object], repeats: int = 15) -> float:
    """Processor time, the least of several runs, ms: what one core takes that does nothing else."""
    least = float("inf")
    for _ in range(repeats):
        begin = time.process_time()
        work()
        least = min(least, time.process_time() - begin)
    return 1000.0 * least


def bench_speed() -> list[Measurement]:
    """A 30 s call from the capture file to the sound, and the buffers alone; worst of three calls a codec."""
    if not RAW.is_dir():
        return _absent("speed")
    reference = read_wav(REFERENCE)[0]
    results: list[Measurement] = []
    calls = list(_calls())
    for codec, bar in SPEED.items():
        paths = [path for path, name in calls if name == codec][:3]
        worst = max(
            _best_ms(lambda p=path: listen(read_capture(p), ["pjmedia"], reference=reference)) for path in paths
        )
        results.append(Measurement(f"{codec}: capture to sound, 30 s call", worst, "ms", bar))
    chosen = choose(read_capture(next(path for path, name in calls if name == "g711u")))
    frames = frames_of(chosen.trace, chosen.codec)
    quiet = quiet_frames(frames, chosen.codec, frame_bytes(chosen.trace, frames, chosen.codec, reference))
    for spec in ("fixed:100", "pjmedia", "adaptive", "oracle:100"):
        ear = buffer(spec)
        took = _best_ms(lambda e=ear: replay(chosen.trace, frames, e, None, quiet))
        results.append(
            Measurement(f"{spec}: the buffer alone, G.711", took, "ms", 5.0 if "oracle" not in spec else None)
        )
    return results


def _predict(path: Path) -> tuple[float, float] | None:
    """Predicted and real MOS-LQO of a call, both against the reference as the study's program read it."""
    said = samples_as_published(REFERENCE)
    heard = listen(read_capture(path), ["pjmedia"], reference=read_wav(REFERENCE)[0])[0]
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


def _curve(path: Path) -> list[tuple[float, float]]:
    """(mouth-to-ear ms, MOS-LQO) of the adaptive buffer, then of the fixed ones."""
    reference = read_wav(REFERENCE)[0]
    ears = listen(read_capture(path), ["adaptive", *(f"fixed:{ms}" for ms in FIXED)], reference=reference)
    points = []
    for heard in ears:
        try:
            points.append((heard.mouth_to_ear_mean_ms, pesq_nb(reference, heard.audio).mos_lqo))
        except ScorerRefused:
            points.append((heard.mouth_to_ear_mean_ms, 1.0))
    return points


def bench_tradeoff() -> list[Measurement]:
    """The adaptive buffer above the curve of the fixed ones at equal mean delay, and beside fixed:200."""
    if not RAW.is_dir():
        return _absent("trade-off")
    results: list[Measurement] = []
    calls = list(_calls())
    with ProcessPoolExecutor(2) as pool:
        for codec in SPEED:
            paths = [path for path, name in calls if name == codec]
            table: NDArray[np.float64] = np.array(list(pool.map(_curve, paths)))
            mean = table.mean(axis=0)
            gain = float(mean[0, 1] - np.interp(mean[0, 0], mean[1:, 0], mean[1:, 1]))
            above = (table[:, :, 1] > 3.0).mean(axis=0)
            at_200 = 1 + FIXED.index(200)
            note = f"n = {len(paths)}, at {mean[0, 0]:.0f} ms"
            results.append(Measurement(f"{codec}: gain over fixed at equal delay", gain, "MOS", 0.0, False, note))
            share = float(above[0] - above[at_200])
            results.append(Measurement(f"{codec}: share above 3.0 less fixed:200's", share, "", 0.0, False, note))
            less = float(mean[at_200, 0] - mean[0, 0])
            results.append(Measurement(f"{codec}: delay less than fixed:200's", less, "ms", 0.0, False, note))
    return results
