"""The numbers of flows, also where two flows have the same mix of addresses and ports."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from earwitness.trace.flow_numbers import _SPREAD, flow_numbers

FLOWS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60)


@given(FLOWS)
def test_each_flow_has_its_number(ends: list[tuple[int, int]]) -> None:
    # Of the 16 flows, those with the same sum of both have one mix: as unlike as real ones, and all collide.
    ports = np.array([1000 + port for _, port in ends], dtype=np.uint32)
    mixes = np.array([7000 + (host + port) % 4 for host, port in ends], dtype=np.uint64)
    words = mixes ^ ports * _SPREAD
    number, first = flow_numbers(words.view(np.uint8).reshape(-1, 8), ports)
    flows = list(zip(words.tolist(), ports.tolist(), strict=True))
    assert len(first) == len(set(flows))
    assert [flows[row] for row in first[number]] == flows
    assert [flows.index(flows[row]) for row in first] == first.tolist()
