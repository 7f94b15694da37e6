"""`earwitness blame`: which cause took how much of a call's quality."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
