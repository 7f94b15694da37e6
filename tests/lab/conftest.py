"""The sandbox's fixtures, for the lab's tests too."""

from __future__ import annotations

from tests.netns.conftest import experiment, permitted, token

__all__ = ["experiment", "permitted", "token"]
