"""Array types by element type."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Pcm = NDArray[np.int16]
"""16-bit linear PCM samples."""
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I8 = NDArray[np.int8]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
"""Times in ns, extended sequence numbers and timestamps."""
U8 = NDArray[np.uint8]
Bool = NDArray[np.bool_]
