"""Loads the reference implementations of codecs (the system's shared libraries) through ctypes."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable
from functools import cache

import numpy as np

from earwitness.arrays import Pcm
from earwitness.errors import EarwitnessError

SPANDSP = ("libspandsp.so.2", "apt-get install libspandsp2")
"""Library and remedy of several codecs, for `load`."""


class CodecLibraryMissing(EarwitnessError):
    """A codec's shared library is missing on this machine."""


@cache
def load(soname: str, remedy: str) -> ctypes.CDLL:
    """The shared library `soname`; raises `CodecLibraryMissing` with the remedy."""
    try:
        return ctypes.CDLL(soname)
    except OSError as error:
        raise CodecLibraryMissing("loading the codec library", soname, error, remedy) from error


def declare(library: ctypes.CDLL, function: str, result: object, *arguments: object) -> None:
    """Declare the C prototype of a function, so that ctypes converts and checks its arguments."""
    entry = getattr(library, function)
    entry.restype = result
    entry.argtypes = arguments


def owned(owner: object, state: int | None, free: Callable[[int], object]) -> int:
    """A library's state (an address), freed together with `owner`; raises `EarwitnessError` if there is none."""
    if not state:
        raise EarwitnessError("opening", "a codec", "its library gave no memory for it", "close other programs")
    weakref.finalize(owner, free, state)
    return state


def checked_frame(frame: Pcm, samples: int, codec: str) -> Pcm:
    """`frame` as contiguous int16 with exactly `samples` samples; otherwise the caller made an error."""
    if frame.shape != (samples,) or frame.dtype != np.int16:
        raise ValueError(f"{codec} encodes {samples} int16 samples at a time, not {frame.dtype} {frame.shape}")
    return np.ascontiguousarray(frame)
