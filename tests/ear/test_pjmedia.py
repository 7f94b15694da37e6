"""PJMEDIA's buffer: its rules one by one, and the recordings that its phones really made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from earwitness.ear import hear
from earwitness.ear.base import CONCEAL, Stream
from earwitness.ear.listen import choose_stream, listen_to_capture
from earwitness.ear.pjmedia import Pjmedia, PjmediaPlayout
from earwitness.score.pesq import samples_as_published
from earwitness.speech.codecs.registry import codec
from earwitness.speech.wav import read_wav
from earwitness.trace.capture import read_capture
from earwitness.trace.rtcp import missed_by_capture
from testing.ear.traces import trace_of, voice

TICK = 20_000_000


def opened(**settings: int) -> PjmediaPlayout:
    return Pjmedia(**settings).open(Stream(8000, 160, 1))


def put(playout: PjmediaPlayout, *places: int) -> None:
    for place in places:
        playout.put(0, place, place * 160, 1, place)


def pull(playout: PjmediaPlayout, times: int, now: list[int]) -> list[int]:
    out = []
    for _ in range(times):
        now[0] += TICK
        out.append(playout.pull(now[0])[0])
    return out


def test_playing_starts_with_the_first_frame_and_what_comes_late_plays_later() -> None:
    playout, now = opened(), [0]
    assert pull(playout, 1, now) == [CONCEAL]
    put(playout, 7)
    assert pull(playout, 2, now) == [7, CONCEAL]
    put(playout, 8, 9)
    assert pull(playout, 3, now) == [8, 9, CONCEAL]


def test_a_hole_is_missing_a_duplicate_ignored_and_an_old_frame_too_late() -> None:
    playout, now = opened(), [0]
    put(playout, 10, 12, 12)
    assert pull(playout, 2, now) == [10, CONCEAL]
    put(playout, 10, 11)
    assert pull(playout, 2, now) == [12, CONCEAL]


def test_what_waits_for_a_prefetch_that_never_fills_is_not_waited_for() -> None:
    sent = trace_of(codec("g711u"), voice(1.0))
    heard = hear(sent.take(np.r_[0:3, 48:50]), codec("g711u"), "pjmedia:prefetch=60,capacity=200")
    assert len(heard.audio) / heard.sample_rate < 1.5, "and not for hours"
    playout, now = opened(prefetch_ms=60, capacity_ms=200), [0]
    put(playout, 1, 2)
    drained = [playout.drained]
    put(playout, 3)
    drained.append(playout.drained)
    assert drained == [True, False]
    assert pull(playout, 3, now) == [1, 2, 3]


def test_a_restart_is_followed_and_a_full_buffer_drops_its_oldest() -> None:
    playout, now = opened(), [0]
    put(playout, 5000)
    assert pull(playout, 1, now) == [5000]
    put(playout, 100)
    assert pull(playout, 1, now) == [100]
    put(playout, *range(101, 131))
    assert pull(playout, 26, now) == [*range(106, 131), CONCEAL]


def test_prefetch_waits_for_as_many_frames_as_asked() -> None:
    playout, now = opened(prefetch_ms=60), [0]
    put(playout, 1, 2)
    assert pull(playout, 1, now) == [CONCEAL]
    put(playout, 3)
    assert pull(playout, 3, now) == [1, 2, 3]


def test_depth_beyond_the_bursts_is_shed_no_oftener_than_every_200_ms() -> None:
    playout, now = opened(), [0]
    played: list[int] = []
    place = 0
    for _ in range(12):
        put(playout, place)
        place += 1
        played += pull(playout, 1, now)
    put(playout, *range(place, place + 8))
    place += 8
    for _ in range(300):
        put(playout, place)
        place += 1
        played += pull(playout, 1, now)
    shed = np.setdiff1d(np.arange(played[-1]), played)
    # Each shed frame takes the one after it along, which is concealed to smooth the join.
    pairs = shed.reshape(-1, 2)
    assert (pairs[:, 1] == pairs[:, 0] + 1).all()
    assert 3 <= len(pairs) <= 8
    assert (np.diff(pairs[:, 0]) >= 10).all()


def test_silence_follows_240_ms_of_concealment() -> None:
    c = codec("g711u")
    trace = trace_of(c, voice(3.0), pauses=[(50, 100)])
    heard = hear(trace, c, "pjmedia")
    gap = np.flatnonzero(heard.played.frame < 0)
    gap = gap[(gap > 20) & (gap < 220)]
    loud = np.abs(heard.audio.reshape(-1, 80).astype(int)).max(axis=1) > 0
    # Fading takes 80 ms; the extension is then silent, and stays so when it is given up.
    assert loud[gap[:7]].all()
    assert not loud[gap[9:]].any()


def calls(published: Path, codec_folder: str) -> list[Path]:
    folder = published / "05-data" / "Sample-Raw-Data" / "Tor" / codec_folder
    return sorted(folder.glob("*/caller/data/test_pcaps/*_0.pcap"))


@pytest.fixture(scope="module")
def reference(published: Path) -> np.ndarray:
    name = published / "02-data-collection-steps" / "caller" / "audio-samples" / "prior-work-jithin-audio.wav"
    return read_wav(name)[0]


def recording_of(capture: Path) -> Path:
    number = capture.stem.rsplit("_", 1)[1]
    return capture.parents[1] / "test_caller_recordings" / f"caller_recording_{number}.wav"


@pytest.mark.published
@pytest.mark.parametrize(("folder", "exact"), [("g711", 0.6), ("GSM", 0.6), ("speex", 0.4)])
def test_recordings_come_out_bit_for_bit(published: Path, reference: np.ndarray, folder: str, exact: float) -> None:
    same = []
    for path in calls(published, folder):
        capture = read_capture(path)
        if (missed_by_capture(capture, choose_stream(capture).heard) or 0.0) > 0.05:
            continue  # The capture lacks packets that the phone heard.
        heard = listen_to_capture(capture, ["pjmedia"], reference=reference)[0]
        recorded = samples_as_published(recording_of(path))
        same.append(len(heard.audio) == len(recorded) and bool((heard.audio == recorded).all()))
    assert len(same) >= 6
    assert np.mean(same) >= exact


@pytest.mark.published
def test_the_ear_of_a_capture_is_the_phone_that_captured(published: Path) -> None:
    heard = dict.fromkeys(("g711", "GSM", "speex", "OPUS"), 0)
    for folder in heard:
        for path in calls(published, folder):
            capture = read_capture(path)
            if capture.streams:
                assert choose_stream(capture).heard.flow.destination == "10.8.0.2"
                heard[folder] += 1
    assert heard == {"g711": 9, "GSM": 8, "speex": 9, "OPUS": 9}
