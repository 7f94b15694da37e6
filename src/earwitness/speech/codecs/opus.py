"""Opus for voice, by libopus. Source: RFC 6716 (codec), RFC 7587 (RTP payload)."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from math import ceil
from statistics import fmean, median

import numpy as np

from earwitness.arrays import Pcm
from earwitness.errors import EarwitnessError
from earwitness.looks import Look
from earwitness.options import Option
from earwitness.speech.codecs.base import Codec, Decoder, Encoder, MalformedFrame
from earwitness.speech.codecs.framewise import specification
from earwitness.speech.codecs.kind import ESTIMATED, CodecKind, Impairment, Offer
from earwitness.speech.codecs.native import checked_frame, declare, load, owned
from earwitness.speech.codecs.opus_packet import has_fec, rate_of, samples_in

BITRATES = range(6000, 510_001)
"""bit/s."""
SAMPLE_RATES = (8000, 12000, 16000, 24000, 48000)
PTIMES = (2.5, 5.0, 10.0, 20.0, 40.0, 60.0, 80.0, 100.0, 120.0)
"""RFC 7587 4.2 and 7; from libopus 1.2 on its encoder makes all of them."""

_APPLICATION_VOIP = 2048
_SET_BITRATE, _SET_COMPLEXITY, _SET_FEC, _SET_LOSS, _SET_DTX, _SET_SIGNAL = 4002, 4010, 4012, 4014, 4016, 4024
_GET_LOOKAHEAD = 4027
_SIGNAL_VOICE = 3001
_MAX_FRAME_BYTES = 1275


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL:
    library = load("libopus.so.0", "apt-get install libopus0")
    pointer, number, text = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
    declare(library, "opus_encoder_create", pointer, ctypes.c_int32, number, number, ctypes.POINTER(number))
    declare(library, "opus_encoder_destroy", None, pointer)
    declare(library, "opus_encode", ctypes.c_int32, pointer, pointer, number, text, ctypes.c_int32)
    declare(library, "opus_decoder_create", pointer, ctypes.c_int32, number, ctypes.POINTER(number))
    declare(library, "opus_decoder_destroy", None, pointer)
    declare(library, "opus_decode", number, pointer, text, ctypes.c_int32, pointer, number, number)
    declare(library, "opus_packet_get_nb_samples", number, text, ctypes.c_int32, ctypes.c_int32)
    declare(library, "opus_strerror", ctypes.c_char_p, number)
    library.opus_encoder_ctl.restype = number
    return library


def _message(code: int) -> str:
    return str(_library().opus_strerror(code).decode())


def _check_opened(code: int, what: str) -> None:
    if code != 0:
        raise EarwitnessError(
            "opening", what, _message(code), "use one of the rates " + ", ".join(map(str, SAMPLE_RATES))
        )


class _OpusEncoder:
    """One libopus encoder, freed with this object."""

    def __init__(self, codec: Opus) -> None:
        library = self._library = _library()
        self._frame_samples = codec.frame_samples
        # A packet longer than 20 ms has up to six frames.
        self._most_bytes = _MAX_FRAME_BYTES * (1 if codec.packet_ms <= 20 else 6)
        code = ctypes.c_int()
        state = library.opus_encoder_create(codec.sample_rate, 1, _APPLICATION_VOIP, ctypes.byref(code))
        _check_opened(code.value, "Opus encoder")
        self._state = ctypes.c_void_p(owned(self, state, library.opus_encoder_destroy))
        settings = {
            _SET_BITRATE: codec.bitrate,
            _SET_COMPLEXITY: codec.complexity,
            _SET_FEC: int(codec.fec),
            _SET_LOSS: codec.expected_loss_percent,
            _SET_DTX: 0,
            _SET_SIGNAL: _SIGNAL_VOICE,
        }
        for request, value in settings.items():
            result = library.opus_encoder_ctl(self._state, ctypes.c_int(request), ctypes.c_int32(value))
            if result != 0:
                raise EarwitnessError("setting up", codec.spec, _message(result), "use values in Opus's ranges")

    def encode(self, frame: Pcm) -> bytes:
        frame = checked_frame(frame, self._frame_samples, "Opus")
        out = ctypes.create_string_buffer(self._most_bytes)
        size = self._library.opus_encode(self._state, frame.ctypes.data, self._frame_samples, out, self._most_bytes)
        if size < 0:
            raise EarwitnessError("encoding", "an Opus frame", _message(size), "report this as a bug")
        return out.raw[:size]

    def lookahead(self) -> int:
        """Samples by which decoded audio lags the input (OPUS_GET_LOOKAHEAD)."""
        value = ctypes.c_int32()
        self._library.opus_encoder_ctl(self._state, ctypes.c_int(_GET_LOOKAHEAD), ctypes.byref(value))
        return value.value


class _OpusDecoder:
    """One libopus decoder, freed with this object. Stereo packets are mixed down."""

    def __init__(self, sample_rate: int, frame_samples: int) -> None:
        library = self._library = _library()
        self._sample_rate, self._frame_samples = sample_rate, frame_samples
        code = ctypes.c_int()
        state = library.opus_decoder_create(sample_rate, 1, ctypes.byref(code))
        _check_opened(code.value, "Opus decoder")
        self._state = ctypes.c_void_p(owned(self, state, library.opus_decoder_destroy))

    def decode(self, frame: bytes) -> Pcm:
        """Decode one packet of any duration."""
        samples = self._library.opus_packet_get_nb_samples(frame, len(frame), self._sample_rate)
        if samples <= 0:
            raise MalformedFrame("Opus", frame, _message(samples))
        return self._run(frame, samples, fec=False)

    def decode_many(self, frames: Sequence[bytes]) -> Pcm:
        samples = self._frame_samples
        out = np.empty((len(frames), samples), dtype=np.int16)
        decode, state, address, stride = self._library.opus_decode, self._state, out.ctypes.data, out.strides[0]
        for index, frame in enumerate(frames):
            # A null or empty packet would ask libopus for concealment, so it is refused here.
            count = decode(state, frame, len(frame), address + index * stride, samples, 0) if frame else -4
            if count != samples:
                happened = _message(count) if count < 0 else f"holds {count} samples where {samples} were expected"
                raise MalformedFrame("Opus", frame, happened)
        return out

    def conceal(self) -> Pcm | None:
        return self._run(None, self._frame_samples, fec=False)

    def recover(self, next_frame: bytes) -> Pcm | None:
        if not has_fec(next_frame):
            return None
        try:
            # libopus conceals what the copy is shorter than asked for, and all if it is longer.
            return self._run(next_frame, max(self._frame_samples, samples_in(next_frame, self._sample_rate)), fec=True)
        except MalformedFrame:
            return None

    def _run(self, packet: bytes | None, samples: int, fec: bool) -> Pcm:
        out = np.empty(samples, dtype=np.int16)
        count = self._library.opus_decode(
            self._state, packet, 0 if packet is None else len(packet), out.ctypes.data, samples, int(fec)
        )
        if count < 0:
            raise MalformedFrame("Opus", packet or b"", _message(count))
        return out[:count]


@dataclass(frozen=True)
class Opus:
    """Opus, mono, application VoIP, variable bit rate, DTX off; a packet is one frame for the ear.

    `bitrate` bit/s (6,000-510,000); `fec` adds a low-rate copy of each frame to the next one, which the encoder does
    only if `expected_loss_percent` is above 0; `complexity` 0-10. `sample_rate` is the audio's; the RTP clock is always
    48 kHz (RFC 7587 4.1).
    """

    bitrate: int = 24000
    fec: bool = False
    complexity: int = 9
    expected_loss_percent: int = 0
    sample_rate: int = 8000
    payload_type: int = 120
    name: str = "opus"
    encoding_name: str = "opus"
    clock_rate: int = 48000
    packet_ms: float = 20
    channels: int = 2

    @property
    def spec(self) -> str:
        """`opus:BITRATE` with the options that are not the default."""
        options = [str(self.bitrate)]
        options += ["fec=1"] if self.fec else []
        options += [f"complexity={self.complexity}"] if self.complexity != 9 else []
        options += [f"loss={self.expected_loss_percent}"] if self.expected_loss_percent else []
        options += [f"rate={self.sample_rate}"] if self.sample_rate != 8000 else []
        return specification(self.name, options, self.packet_ms)

    @property
    def frame_samples(self) -> int:
        """A packet at the audio's rate."""
        return round(self.sample_rate * self.packet_ms / 1000)

    @property
    def fmtp(self) -> str:
        """Requests to the remote encoder (RFC 7587 6.1)."""
        return (
            f"maxplaybackrate={self.sample_rate};sprop-maxcapturerate={self.sample_rate};"
            f"maxaveragebitrate={self.bitrate};useinbandfec={int(self.fec)};usedtx=0"
        )

    @property
    def lookahead_samples(self) -> int:
        """6.5 ms with this library, in samples of the audio's rate."""
        return _lookahead(self.sample_rate)

    def encoder(self) -> Encoder:
        """A fresh encoder."""
        return _OpusEncoder(self)

    def decoder(self) -> Decoder:
        """A fresh decoder."""
        return _OpusDecoder(self.sample_rate, self.frame_samples)

    def split(self, payload: bytes) -> list[bytes]:
        """The packet itself: Opus has its own inner framing."""
        return [payload] if payload else []

    def samples_in(self, payload: bytes) -> int:
        """As the packet's first bytes say."""
        return samples_in(payload, self.sample_rate)


@cache
def _lookahead(sample_rate: int) -> int:
    return _OpusEncoder(Opus(sample_rate=sample_rate)).lookahead()


_STUDY = "opus:48000,fec=1,complexity=0,loss=5"
"""The study's remote phone coded at 48 kHz in stereo at an automatic rate (99 kbit/s) with in-band FEC for 5 % loss
(this reproduces the first 45 bytes of its silent packets exactly). At 8 kHz, all that narrowband PESQ uses, mono at
half the rate predicts its recordings equally well (RMSE 0.08 MOS-LQO with either) in a fifteenth of the time."""
_ALIKE = 0.1
_LEAST_COPIES = 0.1
"""Share of packets with a copy of the frame before that shows in-band FEC: pauses have none, nor what is not SILK."""
_FEC_LOSS = 5
"""Percent of loss for which a sender with FEC is taken to code; packets do not show it, and the factors are for 5 %."""
_LEAST_RATED = 20_000
"""The lowest bit rate with the factors of 24 kbit/s: clean speech scores 0.03 less. Lower ones are not known."""
_IMPAIRMENT = Impairment(0.0, 17.2, f"24 kbit/s: {ESTIMATED}")
_WITH_FEC = Impairment(2.4, 92.6, f"24 kbit/s with in-band FEC for 5 % loss: {ESTIMATED}")


def _make(options: Mapping[str, float]) -> Opus:
    given = {name: int(value) for name, value in options.items()}
    return Opus(
        bitrate=given.get("bitrate", Opus.bitrate),
        fec=bool(given.get("fec", 0)),
        complexity=given.get("complexity", Opus.complexity),
        expected_loss_percent=given.get("loss", 0),
        sample_rate=given.get("rate", Opus.sample_rate),
    )


def _offered(offer: Offer) -> Opus | None:
    if not offer.is_of(Opus()):
        return None
    rates = [rate for payload in offer.payloads if (rate := rate_of(payload))]
    sample_rate = offer.sample_rate or (int(median(rates)) if rates else Opus.sample_rate)
    copies = sum(map(has_fec, offer.payloads)) >= _LEAST_COPIES * len(offer.payloads) > 0
    return offer.numbered(
        Opus(
            bitrate=_bitrate(offer.payloads),
            fec=copies,
            expected_loss_percent=_FEC_LOSS if copies else 0,
            sample_rate=sample_rate,
        )
    )


def _bitrate(payloads: Sequence[bytes]) -> int:
    """The rate at which packets of variable size were probably encoded, bit/s; without packets, the usual one.

    The larger half of the packets of speech with pauses has the encoder's rate to within a fifth, at any rate from 6
    to 48 kbit/s and at 8 and 16 kHz.
    """
    long = [(len(payload), samples_in(payload, Opus.clock_rate)) for payload in payloads]
    rates = sorted(8 * size * Opus.clock_rate / samples for size, samples in long if samples)
    if not rates:
        return Opus.bitrate
    found = fmean(rates[len(rates) // 2 :])
    if abs(found / Opus.bitrate - 1) <= _ALIKE:
        return Opus.bitrate
    return min(max(100 * round(found / 100), BITRATES[0]), BITRATES[-1])


def _impairment(codec: Codec, _concealed: bool) -> Impairment | None:
    if not isinstance(codec, Opus) or codec.bitrate < _LEAST_RATED:
        return None
    return _WITH_FEC if codec.fec else _IMPAIRMENT


def _most_payload(codec: Codec) -> int:
    return ceil(codec.bitrate * codec.packet_ms / 8000) if isinstance(codec, Opus) else 0


OPUS = CodecKind(
    name="opus",
    summary="Opus, variable bit rate around the one given (24 kbit/s)",
    usage="opus[:BITRATE][,fec=0|1][,complexity=0-10][,loss=0-100][,rate=" + "|".join(map(str, SAMPLE_RATES)) + "]",
    make=_make,
    look=Look("Opus", "green", "dash-dot", "triangle", "dots"),
    options=(
        Option("bitrate", BITRATES, bare=True),
        Option("fec", (0, 1)),
        Option("complexity", range(11)),
        Option("loss", range(101)),
        Option("rate", SAMPLE_RATES),
    ),
    impairment=_impairment,
    offered=_offered,
    most_payload=_most_payload,
    encoding_takes_ns=2_000_000,
    ptimes=PTIMES,
    has_own_concealment=True,
    held_back_by_pjmedia=True,
    remade_as=_STUDY,
)
