"""Speech divided into the RTP payloads of a call, encoded before it starts; with silence suppression on request.

Pure: takes samples, returns payloads.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from earwitness.arrays import Pcm
from earwitness.errors import CallFailure, Outcome
from earwitness.speech.codecs.base import Codec, packet_of, packet_samples, packet_ticks
from earwitness.trace.rtp import RtpPacket

HANGOVER_MS = 200
"""Packets for this long after the last active one are sent, so that the ends of words are not clipped."""
LOOK_AHEAD_MS = 20
"""Packets this long before a talkspurt are sent too (at least one), so that a soft onset is not lost."""
_ABOVE_FLOOR_DB = 9.0
_THRESHOLD_RANGE_DBOV = (-60.0, -42.0)
_SILENCE_DBOV = -100.0


@dataclass(frozen=True)
class SpeechPackets:
    """One payload per packet interval; None where silence is suppressed."""

    payloads: tuple[bytes | None, ...]
    codec: Codec

    @property
    def seconds(self) -> float:
        """Length of the speech in seconds."""
        return len(self.payloads) * self.codec.packet_ms / 1000

    @property
    def sent(self) -> int:
        """Number of slots that carry a packet."""
        return sum(payload is not None for payload in self.payloads)

    @property
    def ticks_a_packet(self) -> int:
        """RTP clock ticks from one slot to the next."""
        return packet_ticks(self.codec)

    def rtp(self, payload_type: int, ssrc: int, first_sequence: int, first_timestamp: int) -> list[bytes | None]:
        """Return the packets as sent. Timestamps advance during silence; sequence numbers do not.

        The marker bit is set on the first packet of each talkspurt (RFC 3551 4.1).
        """
        wire: list[bytes | None] = []
        sequence, talking = first_sequence, False
        for slot, payload in enumerate(self.payloads):
            if payload is None:
                wire.append(None)
                talking = False
                continue
            timestamp = (first_timestamp + slot * self.ticks_a_packet) & 0xFFFFFFFF
            packet = RtpPacket(payload_type, sequence & 0xFFFF, timestamp, ssrc, payload, marker=not talking)
            wire.append(bytes(packet))
            sequence, talking = sequence + 1, True
        return wire


def packet_levels_dbov(samples: Pcm, samples_a_packet: int) -> NDArray[np.float64]:
    """Return the level of each complete packet of `samples` (n,), dB relative to a full-scale square wave."""
    whole = len(samples) // samples_a_packet
    cut = samples[: whole * samples_a_packet].reshape(whole, samples_a_packet).astype(np.float64)
    power = np.mean(cut**2, axis=1) / 32768.0**2
    levels: NDArray[np.float64] = 10 * np.log10(np.maximum(power, 10 ** (_SILENCE_DBOV / 10)))
    return levels


def active_packets(levels_dbov: NDArray[np.float64], packet_ms: float = 20) -> NDArray[np.bool_]:
    """Return which packets hold speech, (n,): energy above the noise floor, with look-ahead and hangover.

    The floor is the 10th percentile of the levels. The threshold is 9 dB above it, limited to -60..-42 dBov so that
    neither digital silence nor speech without pauses misleads it.
    """
    if not len(levels_dbov):
        return np.zeros(0, dtype=np.bool_)
    threshold = np.clip(np.percentile(levels_dbov, 10) + _ABOVE_FLOOR_DB, *_THRESHOLD_RANGE_DBOV)
    loud = levels_dbov > threshold
    before, after = ceil(LOOK_AHEAD_MS / packet_ms), ceil(HANGOVER_MS / packet_ms)
    spread = np.convolve(loud.astype(np.int64), np.ones(before + after + 1, dtype=np.int64))
    active: NDArray[np.bool_] = spread[before : before + len(loud)] > 0
    return active


def speech_packets(
    samples: Pcm, codec: Codec, *, seconds: float | None = None, silence_suppression: bool = False
) -> SpeechPackets:
    """Encode `samples` (n,) at `codec.sample_rate`: once, or looped or cut to `seconds`.

    The last packet is padded with zeros. With silence suppression the encoder does not see what is not sent, so that
    its state matches the far end's decoder. Raises CallFailure (SPEECH_UNUSABLE) if there are no samples.
    """
    if not len(samples):
        raise CallFailure(
            Outcome.SPEECH_UNUSABLE,
            "encoding",
            on="the speech",
            happened="it has no samples",
            remedy="give other speech",
        )
    samples_a_packet = packet_samples(codec)
    wanted = len(samples) if seconds is None else round(seconds * codec.sample_rate)
    count = -(-wanted // samples_a_packet)
    looped = np.resize(samples, max(wanted, 1)).astype(np.int16)
    padded = np.concatenate([looped, np.zeros(count * samples_a_packet - len(looped), dtype=np.int16)])
    active = np.ones(count, dtype=np.bool_)
    if silence_suppression:
        active = active_packets(packet_levels_dbov(padded, samples_a_packet), codec.packet_ms)
    encoder = codec.encoder()
    payloads: list[bytes | None] = []
    for packet, is_active in zip(padded.reshape(count, samples_a_packet), active, strict=True):
        if not is_active:
            payloads.append(None)
            continue
        frames = [encoder.encode(np.ascontiguousarray(frame)) for frame in packet.reshape(-1, codec.frame_samples)]
        payloads.append(packet_of(codec, frames) or None)
    return SpeechPackets(tuple(payloads), codec)
