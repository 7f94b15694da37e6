"""The ITU-T P.862 reference code inside the `pesq` package's extension module, called directly.

The package's Python function returns the mapped score only and guards nothing. The same C functions, called
through ctypes, also give the raw score and the delays that PESQ found, and let us count utterances before they
overrun the code's fixed arrays. The C code keeps its state in globals, so every call holds the interpreter's lock.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from earwitness.arrays import F32
from earwitness.errors import EarwitnessError

MAX_UTTERANCES = 50
"""Size of the reference code's arrays; it does not check them (pesq.h, MAXNUTTERANCES)."""
LEAST_UTTERANCE_FRAMES = 50
FRAMES_PER_SECOND = 250
_SEARCH_BUFFER = 75
_PADDING_MS = 320
_NARROWBAND, _WIDEBAND = 0, 1
_ERRORS = {
    -6: "less than a quarter of a second of sound",
    -7: "PESQ detects no utterance in the reference that the degraded sound could hold",
}


class _SignalInfo(ctypes.Structure):
    _fields_ = (
        ("path_name", ctypes.c_char * 512),
        ("file_name", ctypes.c_char * 128),
        ("Nsamples", ctypes.c_long),
        ("apply_swap", ctypes.c_long),
        ("input_filter", ctypes.c_long),
        ("data", ctypes.c_void_p),
        ("VAD", ctypes.c_void_p),
        ("logVAD", ctypes.c_void_p),
    )


class _ErrorInfo(ctypes.Structure):
    _fields_ = (
        ("Nutterances", ctypes.c_long),
        ("Largest_uttsize", ctypes.c_long),
        ("Nsurf_samples", ctypes.c_long),
        ("Crude_DelayEst", ctypes.c_long),
        ("Crude_DelayConf", ctypes.c_float),
        ("UttSearch_Start", ctypes.c_long * MAX_UTTERANCES),
        ("UttSearch_End", ctypes.c_long * MAX_UTTERANCES),
        ("Utt_DelayEst", ctypes.c_long * MAX_UTTERANCES),
        ("Utt_Delay", ctypes.c_long * MAX_UTTERANCES),
        ("Utt_DelayConf", ctypes.c_float * MAX_UTTERANCES),
        ("Utt_Start", ctypes.c_long * MAX_UTTERANCES),
        ("Utt_End", ctypes.c_long * MAX_UTTERANCES),
        ("pesq_mos", ctypes.c_float),
        ("mapped_mos", ctypes.c_float),
        ("mode", ctypes.c_short),
    )


@dataclass(frozen=True)
class Measured:
    """What the reference code found. `raw` is NaN in wideband mode, which has no raw score."""

    raw: float
    mos_lqo: float
    utterance_delays: tuple[int, ...]
    """Samples by which the degraded sound lags the reference, per utterance (split where the delay changes)."""


class PesqCodeError(Exception):
    """The reference code returned an error instead of a score; the message says which."""


@lru_cache(maxsize=1)
def _library() -> ctypes.PyDLL:
    try:
        from pesq import cypesq

        library = ctypes.PyDLL(cypesq.__file__)
        for name in ("select_rate", "pesq_measure", "apply_filter", "DC_block", "apply_filters", "apply_VAD"):
            getattr(library, name).restype = None
    except (ImportError, OSError, AttributeError) as error:
        raise EarwitnessError(
            "loading the PESQ reference code of",
            "the package pesq",
            error,
            "pip install --force-reinstall 'pesq>=0.0.4,<0.1'",
        ) from error
    library.apply_filter.argtypes = (ctypes.c_void_p, ctypes.c_long, ctypes.c_int, ctypes.c_void_p)
    library.DC_block.argtypes = library.apply_filters.argtypes = (ctypes.c_void_p, ctypes.c_long)
    library.apply_VAD.argtypes = (ctypes.c_void_p,) * 4
    return library


def _selected_rate(rate: int) -> ctypes.PyDLL:
    """The library, with its globals set for `rate`."""
    library, flag, text = _library(), ctypes.c_long(0), ctypes.c_char_p()
    library.select_rate(ctypes.c_long(rate), ctypes.byref(flag), ctypes.byref(text))
    if flag.value != 0:
        raise PesqCodeError(f"PESQ has no mode for {rate} Hz")
    return library


def native_mos(reference: F32, degraded: F32, rate: int, *, wideband: bool = False) -> Measured:
    """Run the reference code on (n,) and (m,) float32 in 16-bit units; raises `PesqCodeError`.

    The caller must ensure that the reference holds at most `MAX_UTTERANCES` (see `count_utterances`).
    """
    library = _selected_rate(rate)
    signals = []
    for samples in (reference, degraded):
        info = _SignalInfo(Nsamples=len(samples), input_filter=2 if wideband else 1, data=samples.ctypes.data)
        signals.append(info)
    result = _ErrorInfo(mode=_WIDEBAND if wideband else _NARROWBAND)
    flag, text = ctypes.c_long(0), ctypes.c_char_p()
    library.pesq_measure(
        ctypes.byref(signals[0]), ctypes.byref(signals[1]), ctypes.byref(result), ctypes.byref(flag), ctypes.byref(text)
    )
    if flag.value != 0:
        raise PesqCodeError(_ERRORS.get(flag.value, f"the reference code gives error {flag.value}"))
    if not np.isfinite(result.mapped_mos):
        raise PesqCodeError("the reference code comes to no finite score")
    delays = tuple(result.Utt_Delay[: max(0, min(result.Nutterances, MAX_UTTERANCES))])
    return Measured(float("nan") if wideband else result.pesq_mos, result.mapped_mos, delays)


def count_utterances(reference: F32, rate: int) -> int:
    """The number of utterances that the reference code will find in (n,) float32, by its own filters and detector."""
    library = _selected_rate(rate)
    per_frame = rate // FRAMES_PER_SECOND
    edge = _SEARCH_BUFFER * per_frame
    samples = len(reference) + 2 * edge
    data = np.zeros(samples + _PADDING_MS * rate // 1000, dtype=np.float32)
    data[edge : edge + len(reference)] = reference
    curve = ctypes.addressof(ctypes.c_double.in_dll(library, "standard_IRS_filter_dB"))
    library.apply_filter(data.ctypes.data, samples, 26, curve)
    library.DC_block(data.ctypes.data, samples)
    library.apply_filters(data.ctypes.data, samples)
    activity = np.zeros(samples // per_frame, dtype=np.float32)
    scratch = np.zeros_like(activity)
    info = _SignalInfo(Nsamples=samples)
    library.apply_VAD(ctypes.addressof(info), data.ctypes.data, activity.ctypes.data, scratch.ctypes.data)
    edges = np.diff(np.concatenate(([0], (activity > 0).astype(np.int8), [0])))
    lengths = np.flatnonzero(edges == -1) - np.flatnonzero(edges == 1)
    return int(np.count_nonzero(lengths >= LEAST_UTTERANCE_FRAMES))
