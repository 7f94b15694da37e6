"""Earwitness places real voice calls over Tor, hears what arrives, explains it, and shows the cure."""

from earwitness.version import __version__

__all__ = ["__version__"]
