from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earwitness.phone.sdp import NotAcceptable, agreed_by, offer, sdp_answer
from earwitness.speech.codecs.registry import CODEC_NAMES, codec


@pytest.mark.parametrize("name", CODEC_NAMES)
def test_both_ends_agree_on_the_offered_codec(name: str) -> None:
    text = offer([codec(name)], "10.0.0.1", 4000, 7)
    reply, callee = sdp_answer(text, [codec(other) for other in CODEC_NAMES], "10.0.0.2", 5000, 8)
    caller = agreed_by(reply, [codec(name)])
    assert callee.codec.encoding_name == caller.codec.encoding_name == codec(name).encoding_name
    assert callee.send_payload_type == caller.send_payload_type == codec(name).payload_type
    assert callee.remote == ("10.0.0.1", 4000)
    assert caller.remote == ("10.0.0.2", 5000)


def test_the_offer_of_opus() -> None:
    lines = offer([codec("opus:24000,fec=1")], "10.0.0.1", 4000, 7).splitlines()
    assert "m=audio 4000 RTP/AVP 120" in lines
    assert "a=rtpmap:120 opus/48000/2" in lines
    assert any(line.startswith("a=fmtp:120 ") and "useinbandfec=1" in line for line in lines)
    assert "a=ptime:20" in lines


def test_the_offers_of_telephone_codecs() -> None:
    for spec, rtpmap, fmtp in (
        ("g722", "9 G722/8000", ""),
        ("g726:24,aal2=1", "106 AAL2-G726-24/8000", ""),
        ("g729", "18 G729/8000", "18 annexb=no"),
        ("amr:octet=1", "102 AMR/8000", "102 octet-align=1"),
        ("amr-wb", "103 AMR-WB/16000", ""),
        ("ilbc:20", "104 iLBC/8000", "104 mode=20"),
        ("l16:44100,channels=2", "10 L16/44100/2", ""),
        ("speex-wb", "98 speex/16000", ""),
        ("codec2:1300", "109 CODEC2/8000", "109 mode=1300"),
    ):
        lines = offer([codec(spec)], "10.0.0.1", 4000, 7).splitlines()
        assert f"a=rtpmap:{rtpmap}" in lines
        assert [line for line in lines if line.startswith("a=fmtp:")] == ([f"a=fmtp:{fmtp}"] if fmtp else [])


def test_both_ends_pack_amr_alike() -> None:
    text = offer([codec("amr:octet=1")], "10.0.0.1", 4000, 7)
    with pytest.raises(NotAcceptable, match="AMR"):
        sdp_answer(text, [codec("amr")], "10.0.0.2", 5000, 8)
    _, agreed = sdp_answer(text, [codec("amr"), codec("amr:octet=1")], "10.0.0.2", 5000, 8)
    assert agreed.codec == codec("amr:octet=1")


LINPHONE_LIKE = """v=0
o=u 1 1 IN IP4 10.0.0.9
s=Talk
c=IN IP4 10.0.0.9
t=0 0
m=audio 7078 RTP/AVPF 96 97 0 101
a=rtpmap:96 opus/48000/2
a=rtpmap:97 speex/8000
a=rtpmap:101 telephone-event/8000
m=video 9078 RTP/AVPF 98
a=rtpmap:98 VP8/90000
"""


def test_the_number_is_the_offerers_and_other_streams_are_refused() -> None:
    text, agreed = sdp_answer(LINPHONE_LIKE, [codec("g711a"), codec("opus")], "10.0.0.2", 4000, 8)
    assert (agreed.codec.name, agreed.send_payload_type, agreed.remote) == ("opus", 96, ("10.0.0.9", 7078))
    lines = text.splitlines()
    assert "m=audio 4000 RTP/AVPF 96" in lines
    assert any(line.startswith("m=video 0 ") for line in lines)


def test_static_types_need_no_rtpmap() -> None:
    bare = "v=0\nc=IN IP4 1.2.3.4\nm=audio 4000 RTP/AVP 8 3\n"
    _, agreed = sdp_answer(bare, [codec("gsm")], "10.0.0.2", 4000, 8)
    assert (agreed.codec.name, agreed.send_payload_type) == ("gsm", 3)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "v=0\nm=audio 0 RTP/AVP 0\nc=IN IP4 1.2.3.4\n",
        "v=0\nm=audio 4000 RTP/SAVP 0\nc=IN IP4 1.2.3.4\n",
        "v=0\nm=audio 4000 RTP/AVP 0\n",
        "v=0\nm=audio 4000 RTP/AVP 9\nc=IN IP4 1.2.3.4\n",
        "v=x\nm=audio many RTP/AVP 0\n",
    ],
)
def test_nothing_in_common_is_refused(text: str) -> None:
    with pytest.raises(NotAcceptable):
        sdp_answer(text, [codec("g711u")], "10.0.0.2", 4000, 8)


@given(st.text(max_size=200))
def test_any_text_is_an_offer_or_refused(text: str) -> None:
    with contextlib.suppress(NotAcceptable):
        sdp_answer(text, [codec("g711u")], "10.0.0.2", 4000, 8)


@pytest.mark.parametrize(
    ("asked", "offered"), [("g711u", "g711u:ptime=30"), ("opus", "opus:24000,ptime=2.5"), ("gsm", "gsm:ptime=60")]
)
def test_the_packet_time_offered_is_used_by_both(asked: str, offered: str) -> None:
    text = offer([codec(offered)], "10.0.0.1", 4000, 7)
    assert f"a=ptime:{codec(offered).packet_ms:g}" in text.splitlines()
    reply, callee = sdp_answer(text, [codec(asked)], "10.0.0.2", 5000, 8)
    assert callee.codec.packet_ms == agreed_by(reply, [codec(offered)]).codec.packet_ms == codec(offered).packet_ms


@pytest.mark.parametrize(
    ("line", "packet_ms"),
    [
        ("a=ptime:60", 60),
        ("a=maxptime:30", 20),
        ("a=maxptime:10", 10),
        ("a=ptime:40\r\na=maxptime:10", 10),
        ("a=ptime:7", 20),
        ("a=ptime:-20", 20),
        ("a=ptime:inf", 20),
        ("a=ptime:nan", 20),
        ("a=ptime", 20),
        ("a=maxptime:1", 20),
    ],
)
def test_the_answers_packet_time_is_honoured_if_opus_has_it(line: str, packet_ms: float) -> None:
    """RFC 8866 6.4 and 6.5. What cannot be honoured is ignored."""
    reply, _ = sdp_answer(offer([codec("opus")], "10.0.0.1", 4000, 7), [codec("opus")], "10.0.0.2", 5000, 8)
    reply = "".join(one for one in reply.splitlines(keepends=True) if "ptime" not in one) + line + "\r\n"
    assert agreed_by(reply, [codec("opus")]).codec.packet_ms == packet_ms
