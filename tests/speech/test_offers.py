"""What packets show of the way they were encoded: the bit rate or the quality."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earwitness.score.impairments import NoFactors, impairment
from earwitness.speech.codecs import amr, amr_wb
from earwitness.speech.codecs.base import Codec, encode_packets, packet_of
from earwitness.speech.codecs.kind import Offer
from earwitness.speech.codecs.registry import CODEC_NAMES, codec, codec_as_sent, codec_from_rtpmap, codec_offered
from earwitness.speech.reference import speech

MODES = {"amr": amr.MODES, "amr-wb": amr_wb.MODES}
AMR = [f"{name}:{kbps:g}" for name, modes in MODES.items() for kbps in modes]
SPEEX = [f"speex:{quality}" for quality in (0, 1, 2, 3, 5, 8, 9, 10)] + [f"speex-wb:{quality}" for quality in range(11)]


def offer_of(of: Codec, payloads: tuple[bytes, ...] = (), **more: Any) -> Offer:
    return Offer(of.encoding_name, of.clock_rate, of.payload_type, payloads=payloads, **more)


def packets(of: Codec) -> tuple[bytes, ...]:
    return _packets(of.spec)


@cache
def _packets(spec: str) -> tuple[bytes, ...]:
    of = codec(spec)
    return tuple(encode_packets(of, speech("allison-10s", of.sample_rate).samples[: 3 * of.sample_rate]))


@pytest.mark.parametrize("spec", [*AMR, *SPEEX])
def test_the_bytes_of_packets_tell_the_mode(spec: str) -> None:
    of = codec(spec)
    payloads = packets(of)
    wanted = replace(codec(of.name), **_how(of))  # type: ignore[type-var]
    assert codec_offered(offer_of(of, payloads)) == wanted
    assert codec_as_sent(of.name, offer_of(of, payloads)) == wanted, "a bare name leaves it open"
    assert codec_as_sent(
        f"{of.name}:complexity=2" if "speex" in spec else f"{of.name}:octet=0", offer_of(of, payloads)
    ) == (codec(of.name)), "options do not"
    # A snap length leaves the first bytes, and the sizes are known.
    cut = tuple(payload[:6].ljust(len(payload), b"\0") for payload in payloads)
    assert codec_offered(offer_of(of, cut, payload_bytes=len(payloads[0]))) == wanted


def _how(of: Any) -> dict[str, object]:
    return {"kbps": of.kbps} if hasattr(of, "kbps") else {"quality": of.quality}


@pytest.mark.parametrize("spec", AMR)
@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("together", [1, 2, 5])
def test_the_size_of_packets_tells_the_mode_if_their_bytes_are_gone(spec: str, aligned: bool, together: int) -> None:
    of: Any = replace(codec(spec), octet_aligned=aligned)  # type: ignore[type-var]
    frame = of.split(packets(codec(spec))[20])[0]
    size = len(packet_of(of, [frame] * together))
    found: Any = codec_offered(offer_of(of, payload_bytes=size, fmtp=of.fmtp))
    assert found.kbps == of.kbps or together > 1, "several of a lower rate can be as long as one of a higher"
    only: Any = codec_offered(offer_of(of, payload_bytes=size, fmtp=f"{of.fmtp};mode-set={of.mode}"))
    assert only.kbps == of.kbps


def test_mode_set_counts_if_nothing_else_tells() -> None:
    for fmtp, kbps in (("mode-set=0", 4.75), ("mode-set=2", 5.9), ("mode-set=0,2", 12.2), ("mode-set=x", 12.2)):
        found: Any = codec_from_rtpmap("AMR", 8000, 96, fmtp=fmtp)
        assert found.kbps == kbps
    assert codec_from_rtpmap("AMR", 8000, 102, fmtp="mode-set=0", payload_bytes=14).spec == "amr:4.75"
    # A phone that says one thing and sends another is believed in what it sends.
    assert codec_offered(offer_of(codec("amr"), packets(codec("amr:7.4")), fmtp="mode-set=0")).spec == "amr:7.4"


@pytest.mark.parametrize("bitrate", [6000, 8000, 12000, 16000, 24000, 32000, 48000])
@pytest.mark.parametrize("options", ["", ",ptime=60", ",rate=16000"])
def test_the_packets_of_opus_tell_the_bit_rate_within_a_fifth(bitrate: int, options: str) -> None:
    of = codec(f"opus:{bitrate}{options}")
    found: Any = codec_offered(offer_of(of, packets(of)))
    assert found.bitrate == pytest.approx(bitrate, rel=0.2)
    assert bitrate != 24000 or found.bitrate == 24000
    # Below 12 kbit/s it encodes the telephone band only.
    assert found.sample_rate == (of.sample_rate if bitrate >= 12000 else 8000)


@pytest.mark.parametrize("bitrate", [24000, 32000])
@pytest.mark.parametrize("options", ["", ",ptime=60", ",rate=16000"])
def test_the_packets_of_opus_tell_whether_they_carry_the_frame_before(bitrate: int, options: str) -> None:
    with_copies, plain = codec(f"opus:{bitrate},fec=1,loss=5{options}"), codec(f"opus:{bitrate}{options}")
    found: Any = codec_offered(offer_of(with_copies, packets(with_copies)))
    assert found.fec
    alone: Any = codec_offered(offer_of(plain, packets(plain), fmtp="useinbandfec=1"))
    assert not alone.fec, "a receiver's wish is not what was sent"
    assert impairment(found.spec).bpl > impairment(alone.spec).bpl


@pytest.mark.parametrize("kbps", [16, 24, 32, 40])
@pytest.mark.parametrize("packed", [0, 1])
@pytest.mark.parametrize("named", [0, 1])
@pytest.mark.parametrize("ptime", [10, 20, 30])
def test_the_packets_of_g726_tell_the_packing_whatever_they_are_named(
    kbps: int, packed: int, named: int, ptime: int
) -> None:
    sent, name = (codec(f"g726:{kbps},aal2={one},ptime={ptime}") for one in (packed, named))
    found: Any = codec_offered(offer_of(name, packets(sent)))
    assert found.aal2 == bool(packed)
    assert codec_as_sent(f"g726:{kbps},aal2={named}", offer_of(name, packets(sent))) == codec(
        f"g726:{kbps},aal2={named}"
    ), "an option decides"
    few: Any = codec_offered(offer_of(name, packets(sent)[:5]))
    assert few.aal2 == bool(named)


@pytest.mark.parametrize("kbps", [16, 24, 32, 40])
@pytest.mark.parametrize("level", [0, 1, 3, 30, 300, 3000])
def test_noise_in_g726_leaves_the_packing_as_it_is_named(kbps: int, level: int) -> None:
    of = codec(f"g726:{kbps}")
    noise = (np.random.default_rng(1).normal(0, 1, 24_000) * level).astype(np.int16)
    assert codec_offered(offer_of(of, tuple(encode_packets(of, noise)))) == of


@pytest.mark.parametrize("spec", ["amr:4.75", "speex:2", "speex:8", "opus:6000", "opus:12000"])
def test_no_factors_are_known_of_rates_that_nobody_rated(spec: str) -> None:
    of = codec(spec)
    for asked in (spec, codec_offered(offer_of(of, packets(of))).spec):
        with pytest.raises(NoFactors):
            impairment(asked)


@pytest.mark.parametrize("spec", ["amr", "speex", "speex:6", "opus:24000", "opus:64000", "opus:48000,fec=1,loss=5"])
def test_factors_are_known_of_the_usual_rates(spec: str) -> None:
    of = codec(spec)
    assert impairment(codec_offered(offer_of(of, packets(of))).spec).bpl > 0
    assert impairment(spec).bpl > 0


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from([name for name in CODEC_NAMES if name != "codec2"]),
    payloads=st.lists(st.binary(max_size=300), max_size=5),
    payload_bytes=st.none() | st.integers(0, 65_535),
    fmtp=st.text(max_size=20) | st.just("mode-set=99"),
)
def test_any_bytes_leave_a_codec(name: str, payloads: list[bytes], payload_bytes: int | None, fmtp: str) -> None:
    of = codec(name)
    offer = offer_of(of, tuple(payloads), payload_bytes=payload_bytes, fmtp=fmtp)
    found = codec_offered(offer)
    assert found.name == name
    assert codec(found.spec).spec == found.spec
