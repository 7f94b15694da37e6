"""Which files belong to which call, by names alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from earwitness.errors import InputError
from earwitness.published.calls_csv import cities, place_name
from earwitness.published.layout import safe_id, scan
from testing.published.make import end_files, reference


def test_ends_of_one_call_come_together(tmp_path: Path) -> None:
    end_files(tmp_path, "caller", capture=b"c", recording=b"r", iteration=101)
    end_files(tmp_path, "callee", capture=b"c", iteration=101)
    end_files(tmp_path, "caller", status="Non-Tor", codec="opus", batch="a_batch", capture=b"c")
    found = scan(tmp_path)
    assert [call.call_id for call in found.calls] == ["nontor-opus-a_batch-1Frank-Lond-0", "tor-g711-1Frank-Lond-101"]
    tor = found.calls[1]
    assert [end.end for end in tor.ends] == ["caller", "callee"]
    assert tor.ends[0].recording.endswith("caller_recording_101.wav")
    assert not tor.ends[1].recording
    assert tor.iteration == 101
    assert (found.calls[0].batch, found.calls[0].status) == ("a_batch", "Non-Tor")


def test_a_folder_inside_the_layout_knows_what_is_above_it(tmp_path: Path) -> None:
    speech = reference(tmp_path)
    end_files(tmp_path / "05-data" / "Sample-Raw-Data", codec="GSM", capture=b"c")
    found = scan(tmp_path / "05-data" / "Sample-Raw-Data" / "Tor" / "GSM" / "1Frank-Lond")
    assert found.calls[0].status == "Tor"
    assert found.calls[0].codec_claimed == "gsm"
    assert found.reference == speech


def test_a_plain_folder_is_paired_by_stem(tmp_path: Path) -> None:
    for name in ("one.pcap", "one.wav", "two.pcapng", "sub/three.wav", "four.pcap", "four.pcapng"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    calls = {call.call_id: call.ends[0] for call in scan(tmp_path).calls}
    assert (calls["one"].capture, calls["one"].recording) == ("one.pcap", "one.wav")
    assert calls["two"].recording == ""
    assert len(calls) == 5
    assert {end.capture for end in calls.values()} >= {"four.pcap", "four.pcapng"}


def test_a_file_in_the_wrong_folder_is_told(tmp_path: Path) -> None:
    end_files(tmp_path, "caller", capture=b"c")
    stray = tmp_path / "Tor/g711/1Frank-Lond/caller/data/test_pcaps/pcap_callee_inside_0.pcap"
    stray.write_bytes(b"c")
    (found,) = scan(tmp_path).strays
    assert found[0].endswith("pcap_callee_inside_0.pcap")
    assert "callee" in found[1]


def test_an_empty_or_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no captures"):
        scan(tmp_path)
    with pytest.raises(InputError, match="not a folder"):
        scan(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["a/b c", "é", "x" * 300, "-dash", "...", "a/b", "a.b"])
def test_any_name_makes_a_call_id(name: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,119}", safe_id(name))


def test_different_names_stay_different() -> None:
    assert safe_id("a/b") != safe_id("a.b")


def test_places_are_one_however_they_are_spelt() -> None:
    assert place_name("7CapeTown-Seoul") == place_name("Capetown-Seoul") == "Cape Town – Seoul"
    assert cities("10SauPaul-malaysia") == cities("Saopaolo-Malaysia")
    assert cities("11TelAviv-Sydney3") == ("Tel Aviv", "Sydney")
    assert cities("12Lima-Oslo2") == ("Lima", "Oslo")
