"""Codecs' libraries called directly, frame by frame, without any class of Earwitness: what a loop-back has to equal."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from ctypes import byref, c_uint8, c_void_p

import numpy as np

from earwitness.arrays import Pcm

Frames = tuple[list[bytes], Pcm]
"""The frames of an encoder, and what a decoder made of them."""


def g729(samples: Pcm, *, vad: bool = False) -> Frames:
    """libbcg729; with `vad`, Annex B: silence descriptors of two bytes, and frames of none."""
    library = ctypes.CDLL("libbcg729.so.0")
    library.initBcg729EncoderChannel.restype = library.initBcg729DecoderChannel.restype = c_void_p
    encoder, decoder = (
        c_void_p(library.initBcg729EncoderChannel(int(vad))),
        c_void_p(library.initBcg729DecoderChannel()),
    )
    frames, heard, size = [], np.zeros(len(samples), dtype=np.int16), c_uint8()
    for at, address in _pieces(samples, 80, heard):
        out = ctypes.create_string_buffer(10)
        library.bcg729Encoder(encoder, at, out, byref(size))
        frames.append(out.raw[: size.value])
        sid, lost = int(size.value == 2), int(size.value == 0)
        library.bcg729Decoder(decoder, out if size.value else None, size.value, lost, sid, 0, address)
    return frames, heard


def amr(samples: Pcm, mode: int, *, dtx: bool = False) -> Frames:
    """libopencore-amrnb, mode 0-7."""
    library = ctypes.CDLL("libopencore-amrnb.so.0")
    library.Encoder_Interface_init.restype = library.Decoder_Interface_init.restype = c_void_p
    encoder, decoder = c_void_p(library.Encoder_Interface_init(int(dtx))), c_void_p(library.Decoder_Interface_init())
    encode, decode = library.Encoder_Interface_Encode, library.Decoder_Interface_Decode
    return _framewise(
        samples, 160, lambda at, out: encode(encoder, mode, at, out, 0), lambda f, at: decode(decoder, f, at, 0)
    )


def amr_wb(samples: Pcm, mode: int, *, dtx: bool = False) -> Frames:
    """libvo-amrwbenc and libopencore-amrwb, mode 0-8."""
    coder, library = ctypes.CDLL("libvo-amrwbenc.so.0"), ctypes.CDLL("libopencore-amrwb.so.0")
    coder.E_IF_init.restype = library.D_IF_init.restype = c_void_p
    encoder, decoder = c_void_p(coder.E_IF_init()), c_void_p(library.D_IF_init())
    encode, decode = coder.E_IF_encode, library.D_IF_decode
    return _framewise(
        samples, 320, lambda at, out: encode(encoder, mode, at, out, int(dtx)), lambda f, at: decode(decoder, f, at, 0)
    )


def _framewise(
    samples: Pcm,
    length: int,
    encode: Callable[[c_void_p, ctypes.Array[ctypes.c_char]], int],
    decode: Callable[[bytes, c_void_p], int],
) -> Frames:
    frames, heard = [], np.zeros(len(samples), dtype=np.int16)
    for at, address in _pieces(samples, length, heard):
        out = ctypes.create_string_buffer(100)
        size = encode(at, out)
        frames.append(out.raw[:size])
        decode(frames[-1], address)
    return frames, heard


def _pieces(samples: Pcm, length: int, heard: Pcm) -> Iterator[tuple[c_void_p, c_void_p]]:
    """The addresses of each whole frame, in what is said and in what is heard."""
    for at in range(0, len(samples) - length + 1, length):
        yield c_void_p(samples.ctypes.data + 2 * at), c_void_p(heard.ctypes.data + 2 * at)
