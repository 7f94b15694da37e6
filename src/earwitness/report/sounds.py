"""The audio on a page, each piece once, as FLAC."""

from __future__ import annotations

import base64
import hashlib

import numpy as np
from numpy.typing import NDArray

from earwitness.speech.sound import flac


class Sounds:
    """Audio by key; equal samples get the same key."""

    def __init__(self) -> None:
        self._encoded: dict[str, str] = {}

    def add(self, samples: NDArray[np.int16], rate: int) -> str:
        """Add (n,) int16 samples at `rate` Hz; returns their key on the page."""
        digest = hashlib.sha256(f"{rate}:".encode() + samples.tobytes()).hexdigest()[:16]
        key = f"sound-{digest}"
        if key not in self._encoded:
            self._encoded[key] = base64.b64encode(flac(samples, rate)).decode("ascii")
        return key

    def items(self) -> list[tuple[str, str]]:
        """Keys and base64 FLAC files."""
        return list(self._encoded.items())
