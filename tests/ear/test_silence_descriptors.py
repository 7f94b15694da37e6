"""Pauses that the sender's codec described (DTX): between descriptors the ear plays the codec's own noise."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from earwitness.arrays import Pcm
from earwitness.ear import hear
from earwitness.speech.codecs import amr, amr_wb, g729
from earwitness.speech.codecs.base import Codec
from earwitness.speech.codecs.registry import at_ptime, codec
from earwitness.trace.model import Payloads, Trace
from testing.ear.traces import trace_of, voice

Encode = Callable[[Pcm], bytes]


def _of_amr(encode: Callable[..., int], state: int, mode: int, further: int) -> Encode:
    """Either library's encoder, `further` its last argument; a frame of no data is not sent."""

    def encoded(frame: Pcm) -> bytes:
        out = ctypes.create_string_buffer(64)
        size = encode(state, mode, frame.ctypes.data, out, further)
        return b"" if out.raw[0] >> 3 & 15 == 15 else out.raw[:size]

    return encoded


def _amr() -> Encode:
    library = amr._library()
    return _of_amr(library.Encoder_Interface_Encode, library.Encoder_Interface_init(1), 7, 0)


def _amr_wb() -> Encode:
    library = amr_wb._encoders()
    return _of_amr(library.E_IF_encode, library.E_IF_init(), 2, 1)


def _g729() -> Encode:
    library = g729._library()
    state = library.initBcg729EncoderChannel(1)

    def encode(frame: Pcm) -> bytes:
        out, size = ctypes.create_string_buffer(10), ctypes.c_uint8()
        library.bcg729Encoder(state, frame.ctypes.data, out, ctypes.byref(size))
        return out.raw[: size.value]

    return encode


def with_pauses(of: Codec, encode: Encode) -> tuple[Trace, list[bytes]]:
    """Speech, three seconds of soft noise, and speech; and what was sent for each frame, empty if nothing."""
    rng = np.random.default_rng(5)
    noise = rng.normal(0, 60, of.sample_rate * 3).astype(np.int16)
    said = np.concatenate((voice(1.0, of.sample_rate), noise, voice(1.0, of.sample_rate)))
    size = of.frame_samples
    frames = [encode(said[at : at + size].copy()) for at in range(0, len(said) - size + 1, size)]
    unsent = [(index, index + 1) for index, frame in enumerate(frames) if not frame]
    trace = trace_of(of, said, pauses=unsent)
    pack = getattr(of, "pack", b"".join)
    sent = [pack([frame]) for frame in frames if frame]
    sizes = np.array([len(payload) for payload in sent], dtype=np.int32)
    return replace(trace, payloads=Payloads.of(sent), size=sizes), frames


@pytest.mark.parametrize(("spec", "encoder"), [("amr", _amr), ("amr-wb", _amr_wb), ("g729", _g729)])
def test_between_descriptors_the_codecs_own_noise_is_played(spec: str, encoder: Callable[[], Encode]) -> None:
    of = at_ptime(codec(spec), 10 if spec == "g729" else 20)
    trace, frames = with_pauses(of, encoder())
    assert frames.count(b"") > 20
    decoder = of.decoder()
    expected = [decoder.decode(frame) if frame else decoder.conceal() for frame in frames]
    heard = hear(trace, of, "fixed:60")
    begin = int(np.flatnonzero(heard.played.frame == 0)[0]) * of.frame_samples
    whole = np.concatenate([one for one in expected if one is not None])
    assert len(whole) == len(frames) * of.frame_samples
    assert np.array_equal(heard.audio[begin : begin + len(whole)], whole)
    assert heard.shares["pause_ratio"] > 0.1
    assert heard.shares["concealed_ratio"] == 0


def test_a_pause_after_speech_without_a_descriptor_is_silent() -> None:
    of = codec("amr")
    heard = hear(trace_of(of, voice(2.0), pauses=[(40, 60)]), of, "fixed:60", concealment="silence")
    begin = int(np.flatnonzero(heard.played.frame == 0)[0])
    assert not heard.audio[(begin + 40) * 160 : (begin + 60) * 160].any()
