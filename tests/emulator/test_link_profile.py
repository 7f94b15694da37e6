"""Link settings as values, and the decisions of one link, without a network."""

from __future__ import annotations

import itertools
import statistics
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earwitness.emulator.link import Link
from earwitness.emulator.link_profile import LinkProfile, LossPattern, read_delay_trace
from earwitness.emulator.truth_log import PacketFate
from earwitness.errors import InputError

MS = 1_000_000


def packet(size: int = 200, protocol: int = 17, payload: bytes = b"\x80\x00") -> bytes:
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, size, 0, 0, 64, protocol, 0, b"\n\0\0\1", b"\n\0\0\2")
    return (ip + struct.pack("!HHHH", 4000, 4000, size - 20, 0) + payload).ljust(size, b"\0")


def link(stream: str = "1/a>b", **profile: Any) -> Link:
    return Link(1, 2, stream, LinkProfile(**profile))


def test_a_spec_changes_what_it_names() -> None:
    profile = LinkProfile(delay_ms=40).with_spec("jitter=5, loss=0.01,pattern=at:1;2;3,on=rtp,rate=2,queue=50")
    assert profile == LinkProfile(
        delay_ms=40,
        jitter_ms=5,
        loss_ratio=0.01,
        loss_pattern="at:1,2,3",
        loss_on="rtp",
        rate_mbit_s=2,
        queue_ms=50,
    )
    assert LinkProfile(delay_ms=40).with_spec("") == LinkProfile(delay_ms=40)


BAD_SPECS = """
    loss  loss=  los=0.1  loss=1.5  loss=-0.1  jitter=nan  delay=inf  shape=odd  on=sctp  burst=0.5
    pattern=5/3  pattern=1/0  pattern=abc  pattern=at:x  trace=/no/such/file
"""


@pytest.mark.parametrize("spec", BAD_SPECS.split())
def test_a_bad_spec_is_refused_in_one_line(spec: str) -> None:
    with pytest.raises(InputError) as caught:
        LinkProfile().with_spec(spec)
    assert "\n" not in str(caught.value)


@given(st.integers(1, 40).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of))), st.integers(0, 500))
def test_k_of_n_loses_k_in_every_window_of_n(ratio: tuple[int, int], start: int) -> None:
    lost, of = ratio
    pattern = LossPattern(f"{lost}/{of}")
    assert sum(pattern.loses(number) for number in range(start, start + of)) == lost


def test_loss_patterns_by_cycle_and_by_number() -> None:
    assert [LossPattern("..x").loses(n) for n in range(6)] == [False, False, True] * 2
    assert [n for n in range(100) if LossPattern("at:0,7").loses(n)] == [0, 7]
    assert not LossPattern("")


@given(st.integers(0, 2**32), st.sampled_from(["normal", "uniform", "exponential"]), st.floats(0, 30))
def test_jitter_is_reproducible_keeps_order_and_never_predates(seed: int, shape: str, jitter_ms: float) -> None:
    def due() -> list[int]:
        one = link(f"{seed}/a>b", delay_ms=10, jitter_ms=jitter_ms, jitter_shape=shape)
        return [one.admit(now * MS, packet()) for now in range(0, 400, 20)]

    first = due()
    assert first == due()
    assert all(a <= b for a, b in itertools.pairwise(first))
    assert all(left >= now * MS for left, now in zip(first, range(0, 400, 20), strict=True))


@pytest.mark.parametrize(
    ("shape", "mean_ms", "deviation_ms"), [("normal", 50, 4.93), ("uniform", 50, 5 / 3**0.5), ("exponential", 55, 5)]
)
def test_jitter_has_the_shape_it_says(shape: str, mean_ms: float, deviation_ms: float) -> None:
    one = link(delay_ms=50, jitter_ms=5, jitter_shape=shape)
    delays = [(one.admit(now, packet()) - now) / MS for now in range(0, 20_000 * 1000 * MS, 1000 * MS)]
    assert statistics.fmean(delays) == pytest.approx(mean_ms, abs=0.15)
    assert statistics.stdev(delays) == pytest.approx(deviation_ms, rel=0.03)


@pytest.mark.parametrize("burst", [1.0, 4.0])
def test_random_loss_has_the_ratio_and_the_mean_burst(burst: float) -> None:
    one = link(loss_ratio=0.1, loss_burst=burst)
    lost = [one.admit(now, packet()) == -PacketFate.LOST_RANDOM for now in range(60_000)]
    runs = [len(list(group)) for is_lost, group in itertools.groupby(lost) if is_lost]
    assert sum(lost) / len(lost) == pytest.approx(0.1, abs=0.012)
    assert statistics.fmean(runs) == pytest.approx(burst if burst > 1 else 1 / 0.9, rel=0.06)


def test_changing_loss_leaves_jitter_as_it_was() -> None:
    plain = link(delay_ms=10, jitter_ms=3, reorder_ratio=0.2)
    lossy = link(delay_ms=10, jitter_ms=3, reorder_ratio=0.2, duplicate_ratio=0.5)
    pairs = [(plain.admit(n * 50 * MS, packet()), lossy.admit(n * 50 * MS, packet())) for n in range(200)]
    assert all(a == b for a, b in pairs)


def test_losses_strike_what_they_are_told_to() -> None:
    rtp, rtcp = packet(payload=b"\x80\x60"), packet(payload=b"\x81\xc8")
    sip, tcp = packet(payload=b"INVITE"), packet(protocol=6)
    struck = {"all": (rtp, rtcp, sip, tcp), "udp": (rtp, rtcp, sip), "tcp": (tcp,), "rtp": (rtp,)}
    for target, expected in struck.items():
        one = link(loss_ratio=1.0, loss_on=target)
        lost = tuple(kind for kind in (rtp, rtcp, sip, tcp) if one.admit(0, kind) == -PacketFate.LOST_RANDOM)
        assert lost == expected


def test_an_idle_limited_link_starts_at_once() -> None:
    one = link(delay_ms=1, rate_mbit_s=1.6)  # 200 bytes take 1 ms
    assert [one.admit(0, packet()), one.admit(0, packet())] == [2 * MS, 3 * MS]
    assert one.admit(100 * MS, packet()) == 102 * MS


def test_a_trace_by_time_is_a_step_function_in_a_cycle(tmp_path: Path) -> None:
    file = tmp_path / "trace.csv"
    file.write_text("0, 10\n100, 50\n200, x\n300, 20\n")
    one = link(trace=str(file))
    start = 5_000 * MS
    delays = {at: one.admit(start + at * MS, packet()) for at in (0, 99, 100, 250, 399, 400)}
    lost = -int(PacketFate.LOST_DECLARED)
    expected = {at: start + (at + delay) * MS for at, delay in {0: 10, 99: 10, 100: 50, 399: 20, 400: 10}.items()}
    assert delays == {**expected, 250: lost}


@pytest.mark.parametrize("text", ["", "# nothing\n", "1 2 3\n", "1\n2 3\n", "-1\n", "5 1\n4 1\n", "abc\n"])
def test_a_bad_trace_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "trace.txt"
    file.write_text(text)
    with pytest.raises(InputError):
        read_delay_trace(file)
