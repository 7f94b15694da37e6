"""The version of this installation, as its metadata has it (PEP 440)."""

from importlib.metadata import version

__version__ = version("earwitness")
