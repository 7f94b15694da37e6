"""Reference speech: what is said in a call. It ships with the package, or is the user's own sound file."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from earwitness.arrays import Pcm
from earwitness.errors import InputError
from earwitness.speech.level import speech_level
from earwitness.speech.sound import player
from earwitness.speech.wav import MOST_RESAMPLED, decode_audio, read_sound, resample

DEFAULT_SPEECH = "allison-10s"
LEAST_ACTIVE_S = 3.0
"""P.862.3 asks for at least 3.2 s of active speech; slightly less is accepted."""
MOST_S = 1800.0
"""Speech is repeated for the length of a call, so a longer file is probably not speech for this purpose."""
LEAST_DBOV = -55.0
MOST_CLIPPED = 0.001
_FRAMES_AT_ONCE = 1000

_REMEDY = "give a recording with at least 3 s of speech at about -26 dBov, not clipped, or one of: "


@dataclass(frozen=True, eq=False)
class Speech:
    """Speech to play in a call: (n,) int16 mono at `sample_rate`."""

    name: str
    """The shipped name, or the user's path as given."""
    samples: Pcm
    sample_rate: int
    attribution: str
    """Speaker and licence; empty for a user's own file."""
    note: str = ""
    """What a reader of figures should know of a user's own file: the channel taken, the rate converted from."""

    @property
    def seconds(self) -> float:
        """Duration, s."""
        return len(self.samples) / self.sample_rate

    def _repr_html_(self) -> str:
        return player(self.samples, self.sample_rate)


def speech_names() -> tuple[str, ...]:
    """The names of the speech samples shipped with the package."""
    return tuple(_manifest())


def speech(
    name: str | Path,
    sample_rate: int = 8000,
    seconds: float | None = None,
    *,
    channel: str | int | None = None,
    field: str = "",
) -> Speech:
    """The shipped speech called `name`, or the sound file at that path, at `sample_rate` Hz.

    Shipped speech is stored at 8 and 16 kHz at -26 dBov (P.56); other rates are made from the 16 kHz version. A user's
    file is converted to the rate; its level is unchanged; of several channels that differ, `channel` chooses one (with
    `field`, as `earwitness.speech.wav.read_sound`). With `seconds` it is cut, or repeated from the start, to exactly
    that length. Raises `InputError` if there is no such speech, or if it cannot serve as a reference: silent, too
    short, clipped, not audio, or several channels that differ without `channel`.
    """
    if str(name) in _manifest():
        found = _shipped(str(name), sample_rate)
    elif Path(name).exists():
        file = read_sound(name, channel, field=field)
        check_usable(file.samples, file.sample_rate, str(name))
        converted = f"resampled {file.sample_rate} -> {sample_rate} Hz" if file.sample_rate != sample_rate else ""
        note = "; ".join(filter(None, (file.note, converted)))
        found = Speech(str(name), resample(file.samples, file.sample_rate, sample_rate), sample_rate, "", note)
    else:
        raise InputError(
            "finding the speech",
            name,
            "it is neither a shipped speech name nor a file",
            _REMEDY + ", ".join(speech_names()),
        )
    if seconds is None:
        return found
    wanted = round(seconds * sample_rate)
    if wanted < LEAST_ACTIVE_S * sample_rate:
        raise InputError("shortening the speech", name, f"{seconds} s is too short", "ask for at least 3 s")
    return replace(found, samples=np.resize(found.samples, wanted))


def check_usable(samples: Pcm, sample_rate: int, name: str) -> None:
    """Raise `InputError` if these samples cannot serve as a reference for PESQ."""
    if len(samples) > min(MOST_S * sample_rate, MOST_RESAMPLED):
        most = min(MOST_S, MOST_RESAMPLED / sample_rate) / 60
        happened = f"it lasts {len(samples) / sample_rate / 60:.0f} minutes, more than {most:.0f} at {sample_rate} Hz"
        raise InputError("using as speech", name, happened, _REMEDY + ", ".join(speech_names()))
    level = speech_level(samples, sample_rate)
    clipped = float(np.mean((samples >= 32767) | (samples <= -32767))) if len(samples) else 0.0
    problem = ""
    if level.activity == 0.0 or level.active_dbov < LEAST_DBOV:
        problem = "it is silent" if level.activity == 0.0 else f"it is too quiet ({level.active_dbov:.0f} dBov)"
    elif level.activity * len(samples) / sample_rate < LEAST_ACTIVE_S:
        problem = f"only {level.activity * len(samples) / sample_rate:.1f} s of it is active"
    elif clipped > MOST_CLIPPED:
        problem = f"{clipped:.1%} of its samples are clipped"
    elif _is_steady(samples, sample_rate):
        problem = "it is a steady sound (tone or noise), not speech"
    if problem:
        raise InputError("using as speech", name, problem, _REMEDY + ", ".join(speech_names()))


def _is_steady(samples: Pcm, sample_rate: int) -> bool:
    """Whether the level over 20 ms hardly changes. In speech it varies by 20 dB and more."""
    frame = sample_rate // 50
    frames = samples[: len(samples) // frame * frame].reshape(-1, frame)
    blocks = (frames[at : at + _FRAMES_AT_ONCE].astype(np.float64) for at in range(0, len(frames), _FRAMES_AT_ONCE))
    levels = 10.0 * np.log10(np.concatenate([np.mean(block * block, axis=1) for block in blocks]) + 1.0)
    return bool(np.percentile(levels, 95) - np.percentile(levels, 10) < 6.0)


@cache
def _manifest() -> dict[str, dict[str, Any]]:
    text = (files("earwitness.speech") / "data" / "manifest.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def _shipped(name: str, sample_rate: int) -> Speech:
    stored = 8000 if sample_rate == 8000 else 16000
    data = files("earwitness.speech") / "data" / f"{name}-{stored // 1000}k.flac"
    samples, rate = decode_audio(data.read_bytes(), name)
    facts = _manifest()[name]
    attribution = f"{facts['speaker']}, {facts['licence']} ({facts['licence_url']}), copyright {facts['copyright']}"
    return Speech(name, resample(samples, rate, sample_rate), sample_rate, attribution)
