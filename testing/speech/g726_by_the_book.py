"""A G.726 decoder written from the Recommendation's block diagrams (ITU-T G.726 4), slow: an independent opinion.

Names are those of the Recommendation; numbers are Python's, signed, where it has two's complement of some width.
"""

from __future__ import annotations

from collections.abc import Sequence

_SAMPLE_BITS = {16: 2, 24: 3, 32: 4, 40: 5}
# By magnitude of the code word: tables 11 to 14 (DQLN, table 8), W (4.2.4), F (4.2.5).
_DQLN = {
    16: (116, 365),
    24: (-2048, 135, 273, 373),
    32: (-2048, 4, 135, 213, 273, 323, 373, 425),
    40: (-2048, -66, 28, 104, 169, 224, 274, 318, 358, 395, 429, 459, 488, 514, 539, 566),
}
_W = {
    16: (-22, 439),
    24: (-4, 30, 137, 582),
    32: (-12, 18, 41, 64, 112, 198, 355, 1122),
    40: (14, 14, 24, 39, 40, 41, 58, 100, 141, 179, 219, 280, 358, 440, 529, 696),
}
_F = {
    16: (0, 7),
    24: (0, 1, 2, 7),
    32: (0, 0, 0, 1, 1, 1, 3, 7),
    40: (0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 3, 4, 5, 6, 6),
}


def code_words(payload: bytes, kbps: int, *, most_significant_first: bool) -> list[int]:
    """The code words in a payload, in one of the two packings."""
    bits = _SAMPLE_BITS[kbps]
    count, mask = 8 * len(payload) // bits, (1 << bits) - 1
    if most_significant_first:
        stream = int.from_bytes(payload, "big")
        return [stream >> (8 * len(payload) - (at + 1) * bits) & mask for at in range(count)]
    stream = int.from_bytes(payload, "little")
    return [stream >> (at * bits) & mask for at in range(count)]


def _as_float(sign: int, magnitude: int) -> tuple[int, int, int]:
    """FLOATA and FLOATB: sign, exponent and six bits of mantissa."""
    exponent = magnitude.bit_length()
    return sign, exponent, (magnitude << 6) >> exponent if magnitude else 32


def _fmult(coefficient: int, number: tuple[int, int, int]) -> int:
    """FMULT."""
    sign, exponent, mantissa = number
    magnitude = coefficient >> 2 if coefficient >= 0 else -(coefficient >> 2) & 8191
    own_exponent = magnitude.bit_length()
    own_mantissa = (magnitude << 6) >> own_exponent if magnitude else 32
    product, total = (mantissa * own_mantissa + 48) >> 4, exponent + own_exponent
    shifted = (product << 7) >> (26 - total) if total <= 26 else (product << 7 << (total - 26)) & 32767
    return -shifted if (coefficient < 0) != bool(sign) else shifted


def decode(words: Sequence[int], kbps: int) -> list[int]:
    """The reconstructed signal SR of code words, 14 bits, before any conversion to a law."""
    top, leak = 1 << (_SAMPLE_BITS[kbps] - 1), 9 if kbps == 40 else 8
    a1 = a2 = 0
    b = [0] * 6
    sr1 = sr2 = (0, 0, 32)
    dq = [(0, 0, 32)] * 6
    pk1 = pk2 = 0
    yu, yl, dms, dml, ap, td = 544, 34816, 0, 0, 0, False
    out = []
    for word in words:
        dqs = word >= top
        index = (2 * top - 1 - word) if dqs else word
        sezi = sum(_fmult(bn, dqn) for bn, dqn in zip(b, dq, strict=True))
        sei = sezi + _fmult(a1, sr1) + _fmult(a2, sr2)
        sez, se = _wrap(sezi) >> 1, _wrap(sei) >> 1
        al = 64 if ap >= 256 else ap >> 2
        difference = yu - (yl >> 6)
        y = (yl >> 6) + (difference * al >> 6 if difference >= 0 else -(-difference * al >> 6))
        dql = _DQLN[kbps][index] + (y >> 2)
        magnitude = 0 if dql < 0 else ((128 + (dql & 127)) << 7) >> (14 - (dql >> 7 & 15))
        dq0 = -magnitude if dqs else magnitude
        sr = _wrap(dq0 + se)
        out.append(sr)
        integer, fraction = yl >> 15, yl >> 10 & 31
        threshold = 31 << 10 if integer > 9 else (32 + fraction) << integer
        tr = td and magnitude > (threshold + (threshold >> 1)) >> 1
        yu = min(max(y + (((_W[kbps][index] << 5) - y) >> 5), 544), 5120)
        yl += yu + (-yl >> 6)
        dqsez = dq0 + sez
        pk0, sigpk = int(dqsez < 0), dqsez == 0
        a2p = _second_pole(a1, a2, pk0 ^ pk1, pk0 ^ pk2, sigpk)
        a1 = _first_pole(a1, a2p, pk0 ^ pk1, sigpk)
        a2, td = a2p, a2p < -11776
        for at, (sign, _, _) in enumerate(dq):
            gain = 0 if magnitude == 0 else -128 if sign != int(dqs) else 128
            b[at] += gain - (b[at] >> leak)
        if tr:
            a1, a2, b, td = 0, 0, [0] * 6, False
        function = _F[kbps][index]
        dms += ((function << 9) - dms) >> 5
        dml += ((function << 11) - dml) >> 7
        steady = y >= 1536 and abs((dms << 2) - dml) < dml >> 3 and not td
        ap = 256 if tr else ap + (((0 if steady else 512) - ap) >> 4)
        dq = [_as_float(int(dqs), magnitude), *dq[:5]]
        sr1, sr2 = _as_float(int(sr < 0), abs(sr) & 32767), sr1
        pk1, pk2 = pk0, pk1
    return out


def _wrap(value: int) -> int:
    """As two's complement of 16 bits."""
    return (value + 32768) % 65536 - 32768


def _second_pole(a1: int, a2: int, unlike_last: int, unlike_before: int, nothing: bool) -> int:
    """UPA2 and LIMC."""
    limited = min(max(a1, -8191), 8191) << 2
    gain = 0 if nothing else ((-16384 if unlike_before else 16384) + (limited if unlike_last else -limited)) >> 7
    return min(max(a2 + gain - (a2 >> 7), -12288), 12288)


def _first_pole(a1: int, a2p: int, unlike_last: int, nothing: bool) -> int:
    """UPA1 and LIMD."""
    gain = 0 if nothing else -192 if unlike_last else 192
    limit = 15360 - a2p
    return min(max(a1 + gain - (a1 >> 8), -limit), limit)
