"""What a codec is: speech in, RTP payloads out, and back, with its RTP facts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from earwitness.arrays import Pcm
from earwitness.errors import EarwitnessError

MOST_PACKET_MS = 200
"""Speech in one packet that is decoded at most: as much as RFC 3551 4.2 asks a receiver to accept. A packet of a
kilobyte of Speex's shortest frames claims to be half a minute."""


class MalformedFrame(EarwitnessError):
    """Bytes that the codec cannot decode."""

    def __init__(self, codec: str, frame: bytes, happened: object) -> None:
        super().__init__(
            f"decode {codec}",
            f"frame of {len(frame)} bytes",
            happened,
            "treat it as lost; the sender's codec may differ",
        )


class Encoder(Protocol):
    """A stateful encoder of one stream."""

    def encode(self, frame: Pcm) -> bytes:
        """Encode `codec.frame_samples` samples at `codec.sample_rate` into one frame."""
        ...


class Decoder(Protocol):
    """A stateful decoder of one stream."""

    def decode(self, frame: bytes) -> Pcm:
        """Decode one frame to `codec.frame_samples` samples at `codec.sample_rate`; raises `MalformedFrame`."""
        ...

    def decode_many(self, frames: Sequence[bytes]) -> Pcm:
        """Decode frames in order, (n, frame_samples) int16: the same samples as `decode` on each, faster."""
        ...

    def conceal(self) -> Pcm | None:
        """One frame made up by the codec itself for one that is missing; None where the codec has no PLC."""
        ...

    def recover(self, next_frame: bytes) -> Pcm | None:
        """The missing frame from the in-band FEC in the frame after it; None where there is none.

        `next_frame` itself is to be decoded afterwards, as usual.
        """
        ...


@runtime_checkable
class Codec(Protocol):
    """A codec and its RTP facts (RFC 3551, RFC 5574, RFC 7587). Codecs are immutable values."""

    @property
    def name(self) -> str:
        """As in our data: `g711u`, `g711a`, `gsm`, `speex`, `opus`."""
        ...

    @property
    def spec(self) -> str:
        """Name and options such that `codec(spec)` gives this codec again: `opus:24000,fec=1`."""
        ...

    @property
    def encoding_name(self) -> str:
        """As in SDP's rtpmap: PCMU, PCMA, GSM, speex, opus."""
        ...

    @property
    def payload_type(self) -> int:
        """Static where RFC 3551 assigns one, else the dynamic number that we offer."""
        ...

    @property
    def clock_rate(self) -> int:
        """RTP clock in Hz (48,000 for Opus whatever the audio's rate)."""
        ...

    @property
    def sample_rate(self) -> int:
        """Audio sample rate that we encode and decode at, Hz."""
        ...

    @property
    def frame_samples(self) -> int:
        """Samples in one codec frame at `sample_rate`."""
        ...

    @property
    def packet_ms(self) -> int:
        """ptime: milliseconds of audio in one RTP packet."""
        ...

    @property
    def channels(self) -> int:
        """As in SDP's rtpmap (2 for Opus by RFC 7587, whatever is coded)."""
        ...

    @property
    def fmtp(self) -> str:
        """SDP format parameters, or the empty string."""
        ...

    @property
    def lookahead_samples(self) -> int:
        """How many samples at `sample_rate` the decoded audio lags the encoder's input, besides framing."""
        ...

    def encoder(self) -> Encoder:
        """A fresh encoder."""
        ...

    def decoder(self) -> Decoder:
        """A fresh decoder."""
        ...

    def split(self, payload: bytes) -> list[bytes]:
        """The codec frames in one RTP payload, in order (G.711: 10 ms each, as PJMEDIA counts them).

        Bytes at the end that make no whole frame are left out, and what is beyond `MOST_PACKET_MS`.
        """
        ...


def most_frames(frame_samples: int, sample_rate: int) -> int:
    """Frames in a packet that are decoded at most: `MOST_PACKET_MS`, rounded up."""
    return -(-MOST_PACKET_MS * sample_rate // (1000 * frame_samples))


def packet_samples(codec: Codec) -> int:
    """Samples of audio in one RTP packet at `codec.sample_rate`."""
    return codec.sample_rate * codec.packet_ms // 1000


def packet_ticks(codec: Codec) -> int:
    """By how much the RTP timestamp grows from one packet to the next."""
    return codec.clock_rate * codec.packet_ms // 1000


def frames_per_packet(codec: Codec) -> int:
    """Codec frames in one RTP packet."""
    return packet_samples(codec) // codec.frame_samples


def encode_packets(codec: Codec, samples: Pcm) -> list[bytes]:
    """`samples` (n,) int16 at `codec.sample_rate` as RTP payloads of a fresh encoder, the last padded with zeros."""
    per_packet, per_frame = packet_samples(codec), codec.frame_samples
    padded = np.zeros(-(-len(samples) // per_packet) * per_packet, dtype=np.int16)
    padded[: len(samples)] = samples
    encoder = codec.encoder()
    frames = [encoder.encode(padded[at : at + per_frame]) for at in range(0, len(padded), per_frame)]
    together = frames_per_packet(codec)
    return [b"".join(frames[at : at + together]) for at in range(0, len(frames), together)]


def decode_packets(codec: Codec, payloads: Sequence[bytes]) -> Pcm:
    """The plain decoder's output for these payloads played one after the other, (n,) int16."""
    frames = [frame for payload in payloads for frame in codec.split(payload)]
    return codec.decoder().decode_many(frames).reshape(-1)
