"""The installed version, from the package's metadata (PEP 440)."""

from importlib.metadata import version

__version__ = version("earwitness")
