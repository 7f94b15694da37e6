"""Our ear against linphone's own recording of the same packets, over a jittery link, for four codecs.

With linphone's default features the two differed by 0.10 to 0.17 in the median, as its mixer lost 10 ms of speech after
a second in every other call (`earwitness.phone.linphone` has that feature off). How often its playout still jumps
against ours by 5 ms or more is told, and calls without a jump are shown by themselves.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np

from bench.measure import Measurement
from earwitness.replay.hearing import hear_capture
from earwitness.score.pesq import pesq_nb
from earwitness.speech.reference import DEFAULT_SPEECH, speech
from earwitness.speech.wav import read_wav, resample
from testing.commands import INSIDE

ROUNDS = 10
LINK = "delay=40,jitter=8"
BUFFER_MS = 60
_RATE = 8000
_BLOCK = 400
_REACH = 4000


def jumps(rendered: np.ndarray, recorded: np.ndarray) -> int:
    """How often the recording moves against the rendering, by 5 ms or more, both at 8 kHz."""
    offsets = []
    for start in range(0, len(recorded) - _BLOCK, _BLOCK):
        block = recorded[start : start + _BLOCK].astype(np.float64)
        low, high = max(0, start - _REACH), min(len(rendered), start + _BLOCK + _REACH)
        around = rendered[low:high].astype(np.float64)
        if len(around) < _BLOCK or np.abs(block).max() < 300:
            continue
        power = np.convolve(around**2, np.ones(_BLOCK), "valid") * np.sum(block**2) + 1.0
        likeness = np.correlate(around, block, "valid") / np.sqrt(power)
        best = int(np.argmax(likeness))
        if likeness[best] > 0.97:
            offsets.append(low + best - start)
    return int(np.count_nonzero(np.abs(np.diff(offsets)) >= 40))


def bench_ear_against_linphone() -> list[Measurement]:
    """Bar 3 of paths and phones: within 0.15 MOS-LQO in the median, each codec, 10 calls with jitter."""
    reference = speech(DEFAULT_SPEECH, sample_rate=_RATE).samples
    differences, smooth = defaultdict[str, list[float]](list), defaultdict[str, list[float]](list)
    jumped = defaultdict[str, int](int)
    with tempfile.TemporaryDirectory() as folder:
        script = str(Path(__file__).with_name("linphone_inside_lab.py"))
        argv = [*INSIDE, sys.executable, script, folder, str(ROUNDS), LINK, str(BUFFER_MS)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"the calls in the lab failed: {done.stderr[-2000:]}")
        for call in map(json.loads, done.stdout.splitlines()):
            samples, rate = read_wav(Path(call["recording"]))
            recorded = resample(samples, rate, _RATE)
            capture = Path(call["capture"])
            [ours] = hear_capture(
                capture, [f"fixed:{BUFFER_MS}"], reference=DEFAULT_SPEECH, codec=call["codec"], to=call["to"]
            )
            assert ours.score is not None, ours.refused
            difference = ours.score.mos_lqo - pesq_nb(reference, recorded, _RATE).mos_lqo
            differences[call["codec"]].append(difference)
            if jumps(ours.heard.audio, recorded):
                jumped[call["codec"]] += 1
            else:
                smooth[call["codec"]].append(difference)
    found = []
    for codec, values in differences.items():
        note = f"{len(values)} calls, {jumped[codec]} in which linphone's playout jumped"
        found.append(Measurement(f"{codec}: ear - linphone, median", float(np.median(values)), "MOS", 0.15, note=note))
        if smooth[codec]:
            note = f"{len(smooth[codec])} calls"
            value = float(np.median(smooth[codec]))
            found.append(Measurement(f"{codec}: the same, calls without a jump", value, "MOS", 0.15, note=note))
    return found
