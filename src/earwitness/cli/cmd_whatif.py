"""`earwitness whatif`: a data set's calls through other jitter buffers."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
