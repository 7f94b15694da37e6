"""What codecs share whose frames have a fixed number of samples: decoding frame by frame, and cutting payloads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from earwitness.arrays import Pcm
from earwitness.errors import InputError
from earwitness.speech.codecs.base import MalformedFrame, most_frames


class FramewiseDecoder(ABC):
    """A decoder of frames of `frame_samples` samples each, whose library takes one frame at a time.

    `_pausing`: whether the last frame was a silence descriptor, or belonged to the pause after one; for codecs that
    have any, whose `conceal` then continues the noise.
    """

    def __init__(self, codec: str, frame_samples: int) -> None:
        self._codec = codec
        self._frame_samples = frame_samples
        self._pausing = False

    @abstractmethod
    def _into(self, frame: bytes, address: int) -> str:
        """Decode a frame into the `frame_samples` int16 at `address`; returns why it cannot be, or nothing."""

    def decode(self, frame: bytes) -> Pcm:
        """See `Decoder`."""
        samples: Pcm = self.decode_many([frame])[0]
        return samples

    def decode_many(self, frames: Sequence[bytes]) -> Pcm:
        """See `Decoder`."""
        out = np.empty((len(frames), self._frame_samples), dtype=np.int16)
        address, stride, into = out.ctypes.data, out.strides[0], self._into
        for index, frame in enumerate(frames):
            if problem := into(frame, address + index * stride):
                raise MalformedFrame(self._codec, frame, problem)
        return out

    def conceal(self) -> Pcm | None:
        """See `Decoder`; None, unless a codec has its own."""
        return None

    def comfort(self) -> Pcm | None:
        """See `PausingDecoder`."""
        return self.conceal() if self._pausing else None

    def recover(self, next_frame: bytes) -> Pcm | None:
        """See `Decoder`; None: no in-band FEC."""
        return None


def cut(payload: bytes, frame_bytes: int, frame_samples: int, sample_rate: int) -> list[bytes]:
    """The frames of `frame_bytes` in a payload, at most `MOST_PACKET_MS`; what is incomplete at the end is dropped."""
    most = frame_bytes * most_frames(frame_samples, sample_rate)
    whole = min(len(payload) - len(payload) % frame_bytes, most)
    return [payload[at : at + frame_bytes] for at in range(0, whole, frame_bytes)]


def cut_whole(payload: bytes, frame_bytes: int, frame_samples: int, sample_rate: int) -> list[bytes]:
    """As `cut`; none if the payload is not a whole number of frames, because then it is another mode's."""
    return [] if len(payload) % frame_bytes else cut(payload, frame_bytes, frame_samples, sample_rate)


def whole_frames(payload: bytes, frame_bytes: int) -> int:
    """How many frames of `frame_bytes` fill a payload; 0 if something is left over."""
    frames, left = divmod(len(payload), frame_bytes)
    return 0 if left else frames


def specification(name: str, options: Sequence[str], packet_ms: float, usual_ms: float = 20) -> str:
    """A codec's `spec`: its name, its options that are not the default, and its packet time if it is not the usual."""
    all_options = [*options, *([f"ptime={packet_ms:g}"] if packet_ms != usual_ms else [])]
    return name + (":" + ",".join(all_options) if all_options else "")


def check_whole_frames(codec: str, packet_ms: float, frame_ms: int) -> None:
    """Raise `InputError` if a packet is not a whole number of frames."""
    if packet_ms % frame_ms:
        happened = f"its frames have {frame_ms} ms, and packets of {packet_ms:g} ms have no whole number of them"
        raise InputError("using the codec", codec, happened, f"choose a multiple of {frame_ms} ms", field="ptime")


def packet_times(low: float, high: float, step: float) -> tuple[float, ...]:
    """The packet times from `low` to `high` ms in equal steps."""
    return tuple(low + step * index for index in range(round((high - low) / step) + 1))
