"""A stand-in for a codec whose packets cannot be read: unknown, without a library, or encrypted.

A buffer needs only to know how much speech a packet holds, and the timestamps tell that. Nothing can be decoded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from earwitness.errors import InputError
from earwitness.speech.codecs.base import MOST_PACKET_MS, Codec, Decoder, Encoder
from earwitness.trace.encoding import Encoding
from earwitness.trace.model import Trace
from earwitness.trace.roles import main_speech_type
from earwitness.trace.timeline import usual_step


@dataclass(frozen=True)
class Timed:
    """Packets of which most hold `frame_samples` of speech, in units of the RTP clock."""

    name: str
    clock_rate: int
    frame_samples: int
    payload_type: int
    channels: int = 1
    fmtp: str = ""
    lookahead_samples: int = 0

    @property
    def spec(self) -> str:
        """The name."""
        return self.name

    @property
    def encoding_name(self) -> str:
        """The name, which is SDP's."""
        return self.name

    @property
    def sample_rate(self) -> int:
        """The RTP clock."""
        return self.clock_rate

    @property
    def packet_ms(self) -> float:
        """The usual step of the timestamps."""
        return 1e3 * self.frame_samples / self.clock_rate

    def encoder(self) -> Encoder:
        """There is none."""
        raise self._cannot("encoding")

    def decoder(self) -> Decoder:
        """There is none."""
        raise self._cannot("decoding")

    def _cannot(self, tried: str) -> InputError:
        happened = "only the times of its packets are known"
        return InputError(tried, self.name, happened, "name the {codec}", related=("codec",))

    def samples_in(self, payload: bytes) -> int:
        """The same for every packet that holds anything: its content does not tell (`told_lengths`)."""
        return self.frame_samples if payload else 0

    def split(self, payload: bytes) -> list[bytes]:
        """One frame a packet."""
        return [payload] if payload else []


def timed(trace: Trace, name: str) -> tuple[Trace, Codec]:
    """The trace and the stand-in for its codec, called `name`; of other payload types with speech nothing is known.

    Raises InputError if there is no packet, or the timestamps do not tell how much one holds.
    """
    step = usual_step(trace) if len(trace) else 0
    if not 0 < step <= trace.clock_rate * MOST_PACKET_MS // 1000:
        happened = "its timestamps do not tell how much speech a packet holds"
        raise InputError("timing", trace.source or "the trace", happened, "give a capture of a call")
    main = main_speech_type(trace)
    other = {number: one for number, one in trace.formats.items() if number != main and one.role != "speech"}
    codec = Timed(name or "unknown", trace.clock_rate, step, main)
    return replace(trace, formats={**other, main: Encoding(codec.name, trace.clock_rate)}), codec
