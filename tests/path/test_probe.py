"""What is measured of a path: the arithmetic, and probes inside a stream between two sockets."""

from __future__ import annotations

import asyncio
import socket
import time
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earwitness.archive.record import CallRecord
from earwitness.archive.rows import row_of
from earwitness.errors import Outcome
from earwitness.path.facts import PathFacts, ThroughputFacts
from earwitness.path.framed_stream import Counters, StreamLink
from earwitness.path.in_band import InBand
from earwitness.path.probe import (
    LIMIT_BYTES,
    LIMIT_S,
    MOST_PROBES,
    PIECE_BYTES,
    RoundTrips,
    TransferArrivals,
    summarise_round_trips,
)
from earwitness.path.probe_sockets import echoes, echoing
from earwitness.remote.machine import Machine


def test_the_figures_are_those_that_ping_prints() -> None:
    # 64 bytes from ...: time=10.0, 12.0, 14.0 ms -> rtt min/avg/max/mdev = 10.000/12.000/14.000/1.633 ms
    figures = summarise_round_trips(4, [10.0, 12.0, 14.0])
    assert (figures.min_ms, figures.avg_ms, figures.max_ms) == (10.0, 12.0, 14.0)
    assert figures.mdev_ms == pytest.approx(1.633, abs=5e-4)
    assert (figures.sent, figures.received) == (4, 3)


def test_no_answer_is_no_figure() -> None:
    figures = summarise_round_trips(5, [])
    assert (figures.received, figures.avg_ms) == (0, None)


@given(st.lists(st.integers(1, 10**6), min_size=2, max_size=50), st.integers(1, 10**7))
def test_the_first_piece_starts_the_clock_and_is_not_counted(sizes: list[int], step_ns: int) -> None:
    arrivals = TransferArrivals()
    for number, size in enumerate(sizes):
        arrivals.add(size, 5 + number * step_ns)
    result = arrivals.result()
    assert result.bytes == sum(sizes[1:])
    assert result.seconds == pytest.approx((len(sizes) - 1) * step_ns / 1e9)


def test_what_comes_after_the_limit_does_not_count() -> None:
    arrivals = TransferArrivals()
    assert arrivals.add(1000, 0)
    assert arrivals.add(1000, int(LIMIT_S * 1e9))
    assert not arrivals.add(1000, int(LIMIT_S * 1e9) + 1)
    assert arrivals.result().kbit_s == pytest.approx(8 / LIMIT_S)


def test_one_piece_has_no_rate() -> None:
    arrivals = TransferArrivals()
    arrivals.add(1000, 7)
    assert arrivals.result().kbit_s is None


def test_a_path_s_probes_are_columns_and_empty_without_them() -> None:
    names = ("rtt_min_ms", "rtt_avg_ms", "rtt_max_ms", "rtt_mdev_ms", "throughput_kbit_s")

    def columns(facts: PathFacts, direction: str) -> list[float | None]:
        record = CallRecord(call_id="a", started_at="", outcome=Outcome.COMPLETED, path_details=facts)
        return [getattr(row_of(record, direction), name) for name in names]

    assert columns(PathFacts(), "to_callee") == [None] * 5
    carried = {"to_caller": ThroughputFacts(bytes=1, seconds=1.0, kbit_s=9.0)}
    facts = PathFacts(rtt=RoundTrips(3, 3, 1.0, 2.0, 3.0, 0.5), throughput=carried)
    assert columns(facts, "to_caller") == [1.0, 2.0, 3.0, 0.5, 9.0]
    assert columns(facts, "to_callee") == [1.0, 2.0, 3.0, 0.5, None]


def in_band(link: StreamLink, said: list[tuple[str, dict[str, Any]]]) -> InBand:
    """The probes at one end of a stream."""
    return InBand(lambda: link, lambda event, **values: said.append((event, values)))


def take_framed(end: InBand, datagram: bytes) -> None:
    end.take(datagram[4:])


def test_probes_inside_a_stream() -> None:
    """Every byte arrives: the back-pressure of the stream holds the sender, nothing is dropped."""
    said: list[tuple[str, dict[str, Any]]] = []

    async def run() -> Counters:
        here, there = socket.socketpair()
        ends: list[InBand] = []
        counters = [Counters(), Counters()]
        for number, sock in enumerate((here, there)):
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
            link = StreamLink(sock)
            ends.append(in_band(link, said))
            link.serve(counters[number], partial(take_framed, ends[-1]), lambda _reason: None)
        await ends[0].ping(3)
        await ends[1].fill()
        while len(said) < 2:
            await asyncio.sleep(0.01)
        await ends[0].fill()
        while len(said) < 3:
            await asyncio.sleep(0.01)
        here.close()
        there.close()
        return counters[0]

    counters = asyncio.run(asyncio.wait_for(run(), 20))
    (pinged, round_trip), *carried = said
    assert pinged == "pinged"
    assert len(round_trip["times_ms"]) == round_trip["sent"] == 3
    pieces = -(-LIMIT_BYTES // PIECE_BYTES)
    assert [(event, values["bytes"]) for event, values in carried] == [("carried", (pieces - 1) * PIECE_BYTES)] * 2
    assert counters.dropped_queue_full == 0


def test_echoes_are_of_probes_alone_and_of_each_once() -> None:
    here = Machine("here", "", "127.0.0.1", "lo")

    async def run() -> int:
        loop = asyncio.get_running_loop()
        with echoing(here, here.address) as target, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.setblocking(False)
            stranger.bind((here.address, 0))
            probe = bytes(4) + (7).to_bytes(4, "big") + bytes(48)
            too_high = bytes(4) + MOST_PROBES.to_bytes(4, "big") + bytes(48)
            last = bytes(4) + (8).to_bytes(4, "big") + bytes(48)
            answer_of_another = bytes(4) + (9).to_bytes(4, "big") + (5).to_bytes(8, "big") + bytes(40)
            for datagram in (b"echo this", b"\1" + probe[1:], too_high, answer_of_another, probe, probe, last):
                stranger.sendto(datagram, target)
            answers = [await loop.sock_recv(stranger, 2048) for _ in range(2)]
            # Each comes back as it was, with the time that it was held where there were zeros.
            assert [answer[:8] + bytes(8) + answer[16:] for answer in answers] == [probe, last]
            held_ns = [int.from_bytes(answer[8:16], "big") for answer in answers]
            assert all(0 < held < 10**9 for held in held_ns)
            return (await echoes(here, here.address, target, 3)).received

    assert asyncio.run(asyncio.wait_for(run(), 20)) == 3


def test_a_busy_process_is_not_counted_to_the_path() -> None:
    here = Machine("here", "", "127.0.0.1", "lo")

    async def run() -> RoundTrips:
        async def keep_busy() -> None:
            while True:
                time.sleep(0.05)  # neither end can answer or read meanwhile, nor the other tasks of this process run
                await asyncio.sleep(0)

        busy = asyncio.create_task(keep_busy())
        try:
            with echoing(here, here.address) as target:
                return await echoes(here, here.address, target, 5)
        finally:
            busy.cancel()

    found = asyncio.run(asyncio.wait_for(run(), 20))
    assert found.received == 5
    assert found.min_ms is not None
    # Each waited for up to 50 ms twice.
    assert found.min_ms < 5.0
