"""Earwitness places real voice calls over Tor, hears what arrives, explains it, and shows the cure."""

from importlib.metadata import version

__version__ = version("earwitness")
