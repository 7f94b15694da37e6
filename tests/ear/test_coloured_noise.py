"""The filter of comfort noise against SciPy's, which the core does without."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from earwitness.ear.comfort import Noise, coloured


@pytest.mark.parametrize("reflection", [(0.7,), (-0.9, 0.8), (-0.9, 0.8, *[0.3, -0.4] * 4), (0.9999,) * 10])
@pytest.mark.parametrize("pieces", [[3000], [1, 160, 0, 2, 2837]])
def test_it_is_scipys_filter_to_the_last_bit_but_one(reflection: tuple[float, ...], pieces: list[int]) -> None:
    synthesis = Noise(1000.0, reflection).synthesis
    x = np.random.default_rng(5).standard_normal(sum(pieces))
    memory, theirs = [0.0] * len(reflection), np.zeros(len(reflection))
    for piece in np.split(x, np.cumsum(pieces)[:-1]):
        ours, memory = coloured(piece, synthesis, memory)
        wanted, theirs = lfilter([1.0], synthesis, piece, zi=theirs)
        np.testing.assert_allclose(ours, wanted, rtol=1e-13, atol=0)
        np.testing.assert_allclose(memory, theirs, rtol=1e-13, atol=0)
