"""What a user says about the streams of a capture: which one is meant, and what its payload types mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from earwitness.errors import InputError
from earwitness.trace.capture import Capture, read_capture
from earwitness.trace.encoding import Encoding
from earwitness.trace.srtp_keys import SrtpKey, srtp_keys


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which streams are meant, and what they are.

    `stream`: a number in the capture, from 1, or an SSRC. `ports`: only flows from or to these UDP ports. `ssrc`: only
    this one. `payload_types`: meanings that override the capture's. `clock_rate`: of every stream, Hz.
    `srtp_keys`: with which encrypted streams may be decrypted.
    """

    stream: str | None = None
    ports: Sequence[int] = ()
    ssrc: int | None = None
    payload_types: Mapping[int, Encoding] = field(default_factory=dict)
    clock_rate: int | None = None
    srtp_keys: Sequence[SrtpKey] = ()


def selection(
    *,
    stream: str | None = None,
    ports: Sequence[int] | None = None,
    ssrc: str | None = None,
    payload_types: Sequence[str] | None = None,
    clock_rate: int | None = None,
    srtp_key: Sequence[str] | None = None,
) -> Selection:
    """A selection from the texts of a command line: SSRC `0x1234abcd` or decimal, payload types `97=speex/8000`,
    SRTP keys as for `earwitness.trace.srtp_keys.srtp_keys`.

    Raises InputError.
    """
    return Selection(
        stream=stream,
        ports=tuple(ports or ()),
        ssrc=None if ssrc is None else _ssrc(ssrc),
        payload_types=dict(_payload_type(text) for text in payload_types or ()),
        clock_rate=clock_rate,
        srtp_keys=tuple(key for text in srtp_key or () for key in srtp_keys(text)),
    )


def read_selected(path: str | Path, chosen: Selection | None = None, *, resume: bool = False) -> Capture:
    """The capture with only the streams that the selection admits. Raises InputError like `read_capture`, and if the
    capture has streams, but none that is admitted."""
    chosen = chosen or Selection()
    capture = read_capture(
        path,
        ports=chosen.ports,
        ssrc=chosen.ssrc,
        payload_types=chosen.payload_types,
        clock_rate=chosen.clock_rate,
        srtp_keys=chosen.srtp_keys,
        resume=resume,
    )
    if not capture.streams and (chosen.ports or chosen.ssrc is not None):
        every = read_capture(path, resume=resume)
        if every.streams:
            asked = [f"port {', '.join(map(str, chosen.ports))}"] if chosen.ports else []
            asked += [] if chosen.ssrc is None else [f"SSRC 0x{chosen.ssrc:08x}"]
            there = "; ".join(str(stream) for stream in every.streams[:4])
            happened = f"it has no RTP stream of {' and '.join(asked)}"
            raise InputError("choosing streams of", path, happened, f"choose another ({there})")
    return capture


def _ssrc(text: str) -> int:
    try:
        number = int(text, 0)
    except ValueError:
        number = -1
    if not 0 <= number < 2**32:
        raise InputError("reading the SSRC", text, "it is no 32-bit number", "give it as in 0x1234abcd", field="ssrc")
    return number


def _payload_type(text: str) -> tuple[int, Encoding]:
    """Parse `97=speex/8000`, or with channels `10=L16/44100/2`, into a number and its meaning."""
    number, _, encoding = text.partition("=")
    name, _, rest = encoding.partition("/")
    rate, _, channels = rest.partition("/")
    whole = all(part.isascii() and part.isdecimal() and len(part) < 10 for part in (number, rate, channels or "1"))
    if not (whole and int(number) < 128 and name and int(rate) and int(channels or 1)):
        happened = "it is not NUMBER=NAME/RATE with a number below 128"
        remedy = "write it as in 97=speex/8000"
        raise InputError("reading the payload type", text, happened, remedy, field="payload_type")
    return int(number), Encoding(name, int(rate), int(channels or 1))
