"""The smoothing of P.56 against SciPy's filter, which the core does without."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from earwitness.speech.level import smoothed


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
@pytest.mark.parametrize("pieces", [[5000], [1, 2, 0, 3, 125, 128, 129, 4612]])
def test_it_is_scipys_filter_whole_and_in_pieces(rate: int, pieces: list[int]) -> None:
    g = float(np.exp(-1.0 / (0.03 * rate)))
    x = np.abs(np.random.default_rng(5).standard_normal(sum(pieces)))
    wanted = lfilter([1.0 - g], [1.0, -g], x)
    made, last = [], 0.0
    for piece in np.split(x, np.cumsum(pieces)[:-1]):
        y, last = smoothed(piece, g, last)
        assert y.shape == piece.shape
        made.append(y)
    np.testing.assert_allclose(np.concatenate(made), wanted, rtol=1e-12)
    assert last == made[-1][-1]
