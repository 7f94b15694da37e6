"""What a codec is: speech in, RTP payloads out, and back, with its RTP facts."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Pcm = NDArray[np.int16]


class Encoder(Protocol):
    """A stateful encoder of one stream."""

    def encode(self, frame: Pcm) -> bytes:
        """Encode `codec.frame_samples` samples at `codec.sample_rate` into one frame."""
        ...


class Decoder(Protocol):
    """A stateful decoder of one stream."""

    def decode(self, frame: bytes) -> Pcm:
        """Decode one frame to `codec.frame_samples` samples at `codec.sample_rate`."""
        ...

    def conceal(self) -> Pcm | None:
        """One frame made up by the codec itself for one that is missing; None where the codec has no PLC."""
        ...

    def recover(self, next_frame: bytes) -> Pcm | None:
        """The missing frame from the in-band FEC in the frame after it; None where there is none."""
        ...


@runtime_checkable
class Codec(Protocol):
    """A codec and its RTP facts (RFC 3551, RFC 5574, RFC 7587)."""

    name: str
    """As in our data: `g711u`, `g711a`, `gsm`, `speex`, `opus`."""
    encoding_name: str
    """As in SDP's rtpmap: PCMU, PCMA, GSM, speex, opus."""
    payload_type: int
    """Static where RFC 3551 assigns one, else the dynamic number that we offer."""
    clock_rate: int
    """RTP clock in Hz (48,000 for Opus whatever the audio's rate)."""
    sample_rate: int
    """Audio sample rate that we encode and decode at, Hz."""
    frame_samples: int
    """Samples in one codec frame at `sample_rate`."""
    packet_ms: int
    """ptime: milliseconds of audio in one RTP packet."""
    channels: int
    """As in SDP's rtpmap (2 for Opus by RFC 7587, whatever is coded)."""
    fmtp: str
    """SDP format parameters, or the empty string."""

    def encoder(self) -> Encoder:
        """A fresh encoder."""
        ...

    def decoder(self) -> Decoder:
        """A fresh decoder."""
        ...

    def split(self, payload: bytes) -> list[bytes]:
        """The codec frames in one RTP payload, in order (G.711: 10 ms each, as PJMEDIA counts them)."""
        ...
