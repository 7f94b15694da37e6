"""Sound of several channels: one is chosen, and two talkers are never mixed unasked."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from earwitness.errors import InputError
from earwitness.speech.channels import ChannelChoice
from earwitness.speech.reference import speech
from earwitness.speech.wav import read_sound, read_wav

LEFT = speech("allison-10s").samples[:32000]
RIGHT = speech("carlo-10s").samples[:32000] // 2


def written(folder: Path, *channels: np.ndarray, subtype: str = "PCM_16") -> Path:
    path = folder / "call.wav"
    soundfile.write(path, np.stack(channels, axis=1) / 32768.0, 8000, subtype=subtype)
    return path


@pytest.mark.parametrize(
    ("wanted", "name", "samples"),
    [
        ("left", "left", LEFT),
        ("right", "right", RIGHT),
        (" Right", "right", RIGHT),
        (1, "left", LEFT),
        ("2", "right", RIGHT),
    ],
)
def test_the_channel_asked_for_comes_bit_for_bit(
    tmp_path: Path, wanted: str | int, name: str, samples: np.ndarray
) -> None:
    found = read_sound(written(tmp_path, LEFT, RIGHT), wanted)
    assert np.array_equal(found.samples, samples)
    assert (found.channel, found.channels, found.note) == (name, 2, f"{name} of 2 channels")


def test_a_mix_is_the_mean_and_says_so(tmp_path: Path) -> None:
    found = read_sound(written(tmp_path, LEFT, RIGHT), "mix")
    assert np.abs(found.samples - (LEFT.astype(float) + RIGHT) / 2).max() <= 0.5
    assert found.note == "mix of 2 channels"


def test_two_talkers_without_a_choice_are_refused_with_their_levels(tmp_path: Path) -> None:
    path = written(tmp_path, LEFT, RIGHT)
    level = 10 * np.log10(np.mean(LEFT.astype(float) ** 2)) - 20 * np.log10(32768)
    for read, choose in (
        (read_sound, ""),
        (read_wav, ""),
        (speech, ""),
        (partial(read_sound, field="channel"), "choose with --channel: left, right, or mix; or "),
        (partial(speech, field="channel"), "choose with --channel: left, right, or mix; or "),
    ):
        with pytest.raises(InputError) as caught:
            read(path)
        told = str(caught.value.named({"channel": "--channel"}))
        assert f"left {level:.1f} dBov, right -" in told
        assert told.endswith(f"; {choose}save the channel that you mean as a file (sox IN OUT remix 1)")
        assert "\n" not in told


def test_a_silent_channel_is_a_difference_too(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="right silent"):
        read_wav(written(tmp_path, LEFT, np.zeros_like(LEFT)))


def test_a_phase_reversed_pair_is_not_alike(tmp_path: Path) -> None:
    """Mixed it would be silence."""
    with pytest.raises(InputError, match="differ"):
        read_wav(written(tmp_path, LEFT, -LEFT))


@pytest.mark.parametrize("subtype", ["PCM_16", "ULAW", "FLOAT"])
def test_channels_that_are_alike_need_no_choice(tmp_path: Path, subtype: str) -> None:
    hiss = np.random.default_rng(1).normal(0, 3, len(LEFT)).astype(np.int16)
    found = read_sound(written(tmp_path, LEFT, LEFT + hiss, subtype=subtype))
    assert found.note == "left: both channels are alike"
    assert np.corrcoef(found.samples, LEFT)[0, 1] > 0.999


def test_a_second_talker_who_speaks_for_half_a_second_is_found(tmp_path: Path) -> None:
    other = np.tile(LEFT, 10)
    other[100_000:104_000] = RIGHT[8000:12000] * 2
    with pytest.raises(InputError, match="which differ"):
        read_wav(written(tmp_path, np.tile(LEFT, 10), other))


def test_channels_beyond_the_second_have_numbers(tmp_path: Path) -> None:
    path = written(tmp_path, LEFT, RIGHT, LEFT[::-1])
    found = read_sound(path, "3")
    assert np.array_equal(found.samples, LEFT[::-1])
    assert found.channel == "channel 3"
    for wrong in ("4", "0", "left", "centre", "-1", "1.5", "²", 99):
        with pytest.raises(InputError, match=r"it has 3 channels, (and none|so none)"):
            read_wav(path, wrong)
    with pytest.raises(InputError, match=r"channel 1 -.*channel 2 -.*channel 3 -.*a number from 1 to 3, or mix"):
        read_sound(path, field="channel")


def test_a_file_of_one_channel_has_no_sides(tmp_path: Path) -> None:
    path = written(tmp_path, LEFT)
    for harmless in (None, "mix", 1):
        found = read_sound(path, harmless)
        assert np.array_equal(found.samples, LEFT)
        assert found.channel == found.note == ""
    for wrong in ("left", "right", 2):
        with pytest.raises(InputError, match="; leave out channel"):
            read_sound(path, wrong, field="channel")


def test_speech_in_a_channel_tells_which(tmp_path: Path) -> None:
    said = speech(written(tmp_path, LEFT, RIGHT), 16000, channel="left")
    assert said.note == "left of 2 channels; resampled 8000 -> 16000 Hz"
    assert speech(written(tmp_path, LEFT, RIGHT), 8000, 6.0, channel="left").note == "left of 2 channels"
    assert speech("allison-10s").note == ""


@settings(max_examples=60, deadline=None)
@given(
    channels=st.integers(2, 5),
    cut=st.lists(st.integers(1, 899) | st.integers(401, 449), max_size=6),
    seed=st.integers(0, 2**32 - 1),
    odd=st.integers(-1, 4),
    factor=st.floats(1.02, 1.06),
)
def test_blocks_of_any_length_give_the_same_choice(
    channels: int, cut: list[int], seed: int, odd: int, factor: float
) -> None:
    """Around the factor of 1.032, which is a difference of -30 dB."""
    sound = np.repeat(np.random.default_rng(seed).normal(0, 2000, (900, 1)), channels, axis=1)
    if 0 < odd < channels:
        sound[400:450, odd] *= factor
    whole, choice = ChannelChoice(channels, 100, None, "a"), ChannelChoice(channels, 100, None, "a")
    whole.take(sound)
    taken = [choice.take(part) for part in np.split(sound, sorted(cut))]
    assert np.array_equal(np.concatenate(taken), np.rint(sound[:, 0]).astype(np.int16))
    assert outcome(choice) == outcome(whole)
    if not 0 < odd < channels:
        assert "alike" in outcome(choice)


def outcome(choice: ChannelChoice) -> str:
    """The note, or the error."""
    try:
        choice.finish()
    except InputError as error:
        return str(error)
    return choice.note


@pytest.mark.parametrize("block", [960, 1024, 2**20])
def test_channels_are_compared_by_half_seconds_whatever_the_blocks(block: int) -> None:
    """A packet of FFmpeg holds 20 ms, whose power is far less than that of the half second it lies in."""
    said = np.repeat(speech("allison-10s", 16000).samples.astype(float), 3)
    for level, alike in ((-25, False), (-29, False), (-31, True)):
        sound = np.stack([said, said * (1 + 10 ** (level / 20))], axis=1)
        choice = ChannelChoice(2, 48000, None, "a")
        for at in range(0, len(sound), block):
            choice.take(sound[at : at + block])
        assert ("alike" in outcome(choice)) == alike, level
