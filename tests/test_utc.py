from __future__ import annotations

import pytest

from earwitness.utc import utc_text


@pytest.mark.parametrize(
    ("at_ns", "digits", "text"),
    [
        (0, 9, "1970-01-01T00:00:00.000000000Z"),
        (1_767_225_599_999_999_999, 9, "2025-12-31T23:59:59.999999999Z"),
        (1_767_225_599_999_999_999, 3, "2025-12-31T23:59:59.999Z"),
        (1_767_225_599_999_999_999, 0, "2025-12-31T23:59:59Z"),
        (-1, 9, "1969-12-31T23:59:59.999999999Z"),
    ],
)
def test_a_time_is_cut_never_rounded_into_the_next_second(at_ns: int, digits: int, text: str) -> None:
    assert utc_text(at_ns, digits) == text
