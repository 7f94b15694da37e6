"""Where the published study's data is on this machine, if it is here at all."""

from __future__ import annotations

import os
from pathlib import Path

from testing.commands import REPOSITORY

PUBLISHED = Path(os.environ.get("EARWITNESS_PUBLISHED", REPOSITORY.parent / "shared" / "published"))
