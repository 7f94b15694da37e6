"""Takes one channel of a sound of several: the one asked for, or any if all are alike; two talkers are never mixed
unasked."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from earwitness.arrays import F64, Pcm
from earwitness.errors import InputError
from earwitness.speech.samples import to_int16

MIX = "mix"
_NUMBERS = {"left": 1, "right": 2}
_ALIKE = 1e-3
"""Channels are alike if, in every half second, the power of their difference is 30 dB below that of the sound: a score
of one of them is then a score of any."""
_WINDOWS_A_SECOND = 2
_MOST_NAMED = 8


def channel_name(number: int, channels: int) -> str:
    """`left`, `right`, or `channel 3`; numbers begin with 1."""
    return ("left", "right")[number - 1] if channels == 2 else f"channel {number}"


class ChannelChoice:
    """Reduces the blocks of one sound, in order, to one channel; `note` then says what was taken.

    `wanted`: `left`, `right`, `mix`, or a number from 1; None: any, and `finish` raises `InputError` if they differ.
    `name` is the sound's in errors, `field` the setting that chooses, if there is one (`earwitness.errors.InputError`).
    """

    def __init__(self, channels: int, rate: int, wanted: str | int | None, name: str, field: str = "") -> None:
        self._channels, self._name, self._field = channels, name, field
        self._number = _number(wanted, channels, name, field)
        self._compares = wanted is None and channels > 1
        self._window = max(1, rate // _WINDOWS_A_SECOND)
        self._samples = 0
        self._powers = np.zeros(channels)
        self._windows: list[F64] = []
        self._waiting: list[NDArray[Any]] = []
        self._waiting_samples = 0
        self.note = ""
        """Which channel it is, for people: empty for a sound of one channel."""

    @property
    def channel(self) -> str:
        """`left`, `right`, `channel 3`, `mix`; empty for a sound of one channel."""
        if self._channels == 1:
            return ""
        return channel_name(self._number, self._channels) if self._number else MIX

    def take(self, block: NDArray[np.int16] | F64) -> Pcm:
        """(n, channels) in 16-bit units to (n,) int16."""
        if self._compares:
            self._waiting.append(block)
            self._waiting_samples += len(block)
            if self._waiting_samples >= self._window:
                self._compare(whole_only=True)
        if self._channels == 1 or self._number:
            one = block[:, max(0, self._number - 1)]
            return np.ascontiguousarray(one) if block.dtype == np.int16 else to_int16(one)
        return to_int16(block.astype(np.float64).mean(axis=1))

    def finish(self) -> None:
        """After the last block: write the note. Raises `InputError` if channels differ and none was asked for."""
        if self._channels == 1:
            return
        if self._compares:
            self._compare(whole_only=False)
            if self._differ():
                raise self._ambiguous()
            alike = "both" if self._channels == 2 else f"all {self._channels}"
            self.note = f"{self.channel}: {alike} channels are alike"
        else:
            self.note = f"{self.channel} of {self._channels} channels"

    def _compare(self, *, whole_only: bool) -> None:
        """Add the powers of the windows that are waiting: of the sound, and of what distinguishes the channels.

        Blocks may be of any length, so what is left of the last window waits for more, unless the sound has ended.
        """
        block = np.concatenate(self._waiting) if self._waiting else np.zeros((0, self._channels))
        whole = len(block) - len(block) % self._window if whole_only else len(block)
        self._waiting, self._waiting_samples = [block[whole:].copy()], len(block) - whole
        block = block[:whole]
        if not len(block):
            return
        starts = np.arange(0, len(block), self._window)
        first = block[:, 0].astype(np.float64)
        power = first * first
        loudest, apart = np.add.reduceat(power, starts), np.zeros(len(starts))
        self._powers[0] += power.sum()
        for number in range(1, self._channels):
            other = block[:, number].astype(np.float64)
            squares = other * other
            self._powers[number] += squares.sum()
            loudest = np.maximum(loudest, np.add.reduceat(squares, starts))
            apart = np.maximum(apart, np.add.reduceat((other - first) ** 2, starts))
        self._windows.append(np.stack([loudest, apart]))
        self._samples += len(block)

    def _differ(self) -> bool:
        if not self._windows:
            return False
        loudest, apart = np.concatenate(self._windows, axis=1)
        # In a pause even a soft difference is as loud as the sound, so it counts only against the sound as a whole.
        usual = self._powers.max() / self._samples * self._window
        return bool(np.any(apart > _ALIKE * np.maximum(loudest, usual)))

    def _ambiguous(self) -> InputError:
        levels = [
            f"{channel_name(number, self._channels)} {_level(power / self._samples)}"
            for number, power in enumerate(self._powers[:_MOST_NAMED].tolist(), 1)
        ]
        more = f" and {self._channels - _MOST_NAMED} more" if self._channels > _MOST_NAMED else ""
        happened = f"it has {self._channels} channels, which differ: {', '.join(levels)}{more}"
        return _refused(self._name, happened, self._channels, self._field)


def _number(wanted: str | int | None, channels: int, name: str, field: str) -> int:
    """The channel's number from 1; 0 is the mean of all."""
    text = "1" if wanted is None else str(wanted).strip().lower()
    if text == MIX:
        return 0
    if text in _NUMBERS and channels != 2:
        happened = f"it has {channels} channel{'s' * (channels > 1)}, so none is called {text}"
        raise _refused(name, happened, channels, field)
    number = _NUMBERS.get(text) or (int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0)
    if not 1 <= number <= channels:
        happened = f"it has {channels} channel{'s' * (channels > 1)}, and none is called {text[:40]}"
        raise _refused(name, happened, channels, field)
    return number


def _refused(name: str, happened: str, channels: int, field: str) -> InputError:
    alone = "save the channel that you mean as a file (sox IN OUT remix 1)"
    if channels == 1:
        remedy = f"leave out {{{field}}}" if field else "it needs no choice"
    elif field:
        names = "left, right" if channels == 2 else f"a number from 1 to {channels}"
        remedy = f"choose with {{{field}}}: {names}, or mix; or {alone}"
    else:
        remedy = alone
    return InputError("choosing a channel of", name, happened, remedy, field=field, related=(field,) if field else ())


def _level(power: float) -> str:
    """A mean power in 16-bit units as a level."""
    return f"{10.0 * np.log10(power / 32768.0**2):.1f} dBov" if power else "silent"
