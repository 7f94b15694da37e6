"""Whether a stream's payload looks encrypted: as random as ciphertext is, where its codec's own bytes are not."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import numpy as np

from earwitness.trace.encoding import Encoding
from earwitness.trace.model import Trace
from earwitness.trace.payload_types import main_payload_type

_MOST_BYTES = 160
"""Bytes examined per packet."""
_FEW_BYTES, _SAMPLE = 1600, 10_000
"""Bytes examined per stream, if it has as many: at first, and if those do not show that it is clear."""
_FEWEST_PACKETS, _MOST_PACKETS = 24, 250
_UNIFORM, _UNEVEN = 5.0, 12.0
"""Standard deviations of the chi-square statistic of bytes from that of random ones: below the first they look random
(a random stream exceeds it once in 10**5), above the second they cannot be."""

_WAVEFORM = ("pcmu", "pcma", "l16", "l8", "g722")
_ADAPTIVE = ("dvi4", "vdvi", "g721", "g726-16", "g726-24", "g726-32", "g726-40")
_AAL2 = tuple(f"aal2-{name}" for name in _ADAPTIVE)
_LEAST_BYTES = {**dict.fromkeys(_WAVEFORM, 1600), "l16": 4000, **dict.fromkeys((*_ADAPTIVE, *_AAL2), 8000)}
"""Bytes needed to tell the codec's own from random ones. Full-scale white noise in G.726 at 16 kbit/s is nearest."""
_SIGNATURE = {"gsm": 0xD, "gsm-efr": 0xC}
"""The first four bits of every packet (RFC 3551 4.5.8.1, 4.5.9)."""
_WITH_HEADER = ("opus", "speex", "amr", "amr-wb", "evs", "mpa", "red")
"""Codecs whose packets begin with a header that has few values."""


class Appearance(StrEnum):
    """What the bytes of a stream's payload show."""

    RANDOM = "random"
    CLEAR = "clear"
    OPEN = "open"
    """Too few bytes, or a codec whose own look random."""


def appearance_of(trace: Trace) -> tuple[Appearance, bool]:
    """Whether the payload of a stream's speech looks encrypted, and whether its codec makes that certain.

    Waveform codecs (G.711, G.722, G.726, L16): a chi-square test of the bytes against even frequencies; GSM: its
    signature; codecs with a header (Opus, Speex, AMR): how often first bytes repeat; G.729: its parity bit; iLBC: its
    last bit. Of an unknown codec, bytes that look random say little.
    """
    # Most streams are plainly clear: a few packets tell.
    looks, certain = _look(trace, _FEW_BYTES)
    return (looks, certain) if looks is Appearance.CLEAR else _look(trace, _SAMPLE)


def _look(trace: Trace, most: int) -> tuple[Appearance, bool]:
    """As `appearance_of`, from this many bytes."""
    main, payloads = _sample(trace, most)
    meaning = trace.formats.get(main, Encoding("", trace.clock_rate))
    name = meaning.name.lower()
    if name in _SIGNATURE:
        return _by_signature(payloads, _SIGNATURE[name]), True
    if name in _LEAST_BYTES:
        return _by_frequency(payloads, _LEAST_BYTES[name]), True
    if name == "g729":
        return _by_parity(payloads), False
    if name == "ilbc":
        return _by_last_bit(payloads), False
    header = _by_first_byte(payloads)
    if name in _WITH_HEADER or meaning.role == "video" or header is not Appearance.RANDOM:
        return header, False
    if name:
        return Appearance.OPEN, False
    return _by_frequency(payloads, _LEAST_BYTES["g726-16"]), False


def _sample(trace: Trace, most: int) -> tuple[int, list[bytes]]:
    """The main payload type, and distinct payloads of it (as captured) from all over the stream, of so many bytes."""
    if trace.payloads is None or not len(trace):
        return -1, []
    stride = -(-len(trace) // (4 * _MOST_PACKETS))
    payload_type, captured = trace.payload_type[::stride], trace.payloads.captured[::stride]
    main = main_payload_type(payload_type)
    here = np.flatnonzero((payload_type == main) & (captured > 0))
    if not len(here):
        return main, []
    usual = min(int(captured[here[len(here) // 2]]), _MOST_BYTES)
    count = max(_FEWEST_PACKETS, min(most // usual, _MOST_PACKETS))
    if len(here) > count:
        here = here[np.arange(count) * len(here) // count]
    data = trace.payloads.data.data
    bounds = zip(trace.payloads.start[::stride][here].tolist(), captured[here].tolist(), strict=True)
    # Silence and duplicates repeat a payload: as random as one of it.
    return main, list(dict.fromkeys([bytes(data[a : a + min(n, _MOST_BYTES)]) for a, n in bounds]))


def _by_frequency(payloads: Sequence[bytes], least: int) -> Appearance:
    """Chi-square of the frequencies of bytes; random ones give 255 with a standard deviation of 22.6."""
    joined = np.frombuffer(b"".join(payloads), dtype=np.uint8)
    n = len(joined)
    if n < 256:
        return Appearance.OPEN
    counts = np.bincount(joined, minlength=256)
    away = (float(np.sum((counts - n / 256) ** 2)) * 256 / n - 255) / 510**0.5
    if away > _UNEVEN and n >= 1024:
        return Appearance.CLEAR
    return Appearance.RANDOM if away < _UNIFORM and n >= least else Appearance.OPEN


def _by_first_byte(payloads: Sequence[bytes]) -> Appearance:
    """How many pairs of packets begin with the same byte: of random ones, one in 256."""
    n = len(payloads)
    if n < _FEWEST_PACKETS:
        return Appearance.OPEN
    counts = np.bincount([payload[0] for payload in payloads], minlength=256)
    pairs, expected = int(np.sum(counts * (counts - 1) // 2)), n * (n - 1) / 512
    if pairs > expected + 8 * expected**0.5 + 8:
        return Appearance.CLEAR
    return Appearance.RANDOM if pairs < expected + 4 * expected**0.5 + 3 else Appearance.OPEN


def _by_share(hits: int, n: int, chance: float) -> Appearance:
    """Whether a property that clear frames have always, and random ones by `chance`, holds."""
    if n < _FEWEST_PACKETS:
        return Appearance.OPEN
    if hits >= 0.95 * n:
        return Appearance.CLEAR
    return Appearance.RANDOM if hits < n * chance + 5 * (n * chance * (1 - chance)) ** 0.5 else Appearance.OPEN


def _by_signature(payloads: Sequence[bytes], signature: int) -> Appearance:
    return _by_share(sum(payload[0] >> 4 == signature for payload in payloads), len(payloads), 1 / 16)


def _by_parity(payloads: Sequence[bytes]) -> Appearance:
    """G.729's parity bit over the pitch delay of the first subframe (G.729 3.7.2, RFC 3551 4.5.6)."""
    frames = [payload[at : at + 10] for payload in payloads for at in range(0, len(payload) - 9, 10)]
    # 18 bits of line spectral pairs, 8 of the delay, of which the first 6 are protected, and their parity.
    delays = [(int.from_bytes(frame[:4]) >> 5) & 0x1FF for frame in frames]
    return _by_share(sum(((delay >> 3).bit_count() + delay) & 1 == 1 for delay in delays), len(delays), 0.5)


def _by_last_bit(payloads: Sequence[bytes]) -> Appearance:
    """iLBC's empty-frame indicator, the last bit of each frame, which is 0 (RFC 3951 3.8)."""
    for size in (50, 38):
        whole = [payload for payload in payloads if len(payload) % size == 0]
        if len(whole) > len(payloads) / 2:
            frames = [payload[at + size - 1] & 1 for payload in whole for at in range(0, len(payload), size)]
            return _by_share(frames.count(0), len(frames), 0.5)
    return _by_first_byte(payloads)
