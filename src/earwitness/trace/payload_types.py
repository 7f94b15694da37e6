"""The meaning of RTP payload type numbers: static assignments, and documented guesses."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from earwitness.trace.encoding import Encoding

STATIC: dict[int, Encoding] = {
    0: Encoding("PCMU", 8000),
    3: Encoding("GSM", 8000),
    4: Encoding("G723", 8000),
    5: Encoding("DVI4", 8000),
    6: Encoding("DVI4", 16000),
    7: Encoding("LPC", 8000),
    8: Encoding("PCMA", 8000),
    9: Encoding("G722", 8000),
    10: Encoding("L16", 44100, 2),
    11: Encoding("L16", 44100),
    12: Encoding("QCELP", 8000),
    13: Encoding("CN", 8000),
    14: Encoding("MPA", 90000),
    15: Encoding("G728", 8000),
    16: Encoding("DVI4", 11025),
    17: Encoding("DVI4", 22050),
    18: Encoding("G729", 8000),
    25: Encoding("CelB", 90000),
    26: Encoding("JPEG", 90000),
    28: Encoding("nv", 90000),
    31: Encoding("H261", 90000),
    32: Encoding("MPV", 90000),
    33: Encoding("MP2T", 90000),
    34: Encoding("H263", 90000),
}
"""RFC 3551 tables 4 and 5. G722's RTP clock is 8,000 Hz by that RFC although it samples at 16,000."""

GUESSED: dict[int, Encoding] = {97: Encoding("speex", 8000), 120: Encoding("opus", 48000, 2)}
"""Dynamic numbers of the published study's phone (PJSUA), used only if nothing in the capture defines them."""

CLOCK_RATES = (8000, 16000, 32000, 48000, 90000)
"""RTP clocks of dynamic payload types in use, Hz: a measured clock is rounded to one of these."""

COMFORT_NOISE = (13, 19)
"""Comfort noise (RFC 3389), and the number formerly reserved for it."""


def main_payload_type(payload_type: NDArray[np.uint8]) -> int:
    """The payload type of a stream's speech, given all packets' types (n,): the most frequent one except comfort noise,
    which may outnumber speech in a long pause."""
    if len(payload_type) and not np.any(payload_type != payload_type[0]):
        return int(payload_type[0])
    speech = payload_type[~np.isin(payload_type, COMFORT_NOISE)]
    return int(np.argmax(np.bincount(speech if len(speech) else payload_type, minlength=128)))


_OUR_NAMES = {
    "pcmu": "g711u",
    "pcma": "g711a",
    "g726-32": "g726",
    "aal2-g726-32": "g726:aal2=1",
    **{f"g726-{kbps}": f"g726:{kbps}" for kbps in (16, 24, 40)},
    **{f"aal2-g726-{kbps}": f"g726:{kbps},aal2=1" for kbps in (16, 24, 40)},
    "g729a": "g729",
    "g729ab": "g729",
    "speex/16000": "speex-wb",
}
"""Where our name is not SDP's: by its name, or that and its clock."""


def codec_name(encoding: Encoding) -> str:
    """Earwitness's codec name (`g711u`, `gsm`, `g726:24`, `opus`), otherwise SDP's name in lower case."""
    name = encoding.name.lower()
    return _OUR_NAMES.get(f"{name}/{encoding.clock_rate}") or _OUR_NAMES.get(name, name)
