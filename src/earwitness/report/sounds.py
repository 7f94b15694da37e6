"""The sounds of a page, each once, as FLAC."""

from __future__ import annotations

import base64
import hashlib

import numpy as np
from numpy.typing import NDArray

from earwitness.speech.sound import flac


class Sounds:
    """Sounds by key; the same samples get the same key."""

    def __init__(self) -> None:
        self._encoded: dict[str, str] = {}

    def add(self, samples: NDArray[np.int16], rate: int) -> str:
        """Keep (n,) int16 samples at `rate` Hz; returns the key under which the page finds them."""
        digest = hashlib.sha256(f"{rate}:".encode() + samples.tobytes()).hexdigest()[:16]
        key = f"sound-{digest}"
        if key not in self._encoded:
            self._encoded[key] = base64.b64encode(flac(samples, rate)).decode("ascii")
        return key

    def items(self) -> list[tuple[str, str]]:
        """Keys and FLAC files in base64."""
        return list(self._encoded.items())
