"""What `earwitness hear` says of captures that are not all that the phone heard."""

from __future__ import annotations

from pathlib import Path

import pytest

from earwitness.errors import InputError
from earwitness.replay.hearing import hear_capture

TOR = "05-data/Sample-Raw-Data/Tor"


def capture_of(published: Path, call: str) -> Path:
    return published / TOR / call / "caller/data/test_pcaps/pcap_capture_inside_0.pcap"


@pytest.mark.published
@pytest.mark.parametrize(
    ("call", "missed"),
    [
        ("OPUS/8Jakarta-Mexico", 0.334),  # Not captured for 9 s while the phone went on hearing.
        ("OPUS/5sans-amster", 0.0),  # 522 packets were lost before the phone, as it reported.
    ],
)
def test_a_capture_that_lacks_what_its_phone_received_is_doubted(published: Path, call: str, missed: float) -> None:
    said = published / "02-data-collection-steps" / "caller" / "audio-samples" / "prior-work-jithin-audio.wav"
    (scored,) = hear_capture(capture_of(published, call), ["fixed:100"], reference=said)
    record = scored.record()
    assert record["lost_ratio"] > 0.3
    assert record["capture_missed_ratio"] == pytest.approx(missed, abs=0.001)
    assert ("33% of the packets" in record["doubt"]) == (missed > 0)
    assert "\n" not in record["doubt"]


@pytest.mark.published
@pytest.mark.parametrize(
    ("call", "why"),
    [("OPUS/7CapeTown-Seoul", "it has no RTP stream"), ("OPUS/5sans-amster", "give the speech that was")],
)
def test_what_cannot_be_heard_says_why_in_one_line(published: Path, call: str, why: str) -> None:
    with pytest.raises(InputError, match=why) as caught:
        hear_capture(capture_of(published, call), ["pjmedia"])
    assert "\n" not in str(caught.value)
