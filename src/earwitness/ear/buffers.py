"""Jitter buffers by name, as on the command line."""

from __future__ import annotations

from earwitness import options
from earwitness.ear.adaptive import ADAPTIVE
from earwitness.ear.base import JitterBuffer
from earwitness.ear.fixed import FIXED
from earwitness.ear.kind import BufferKind
from earwitness.ear.oracle import ORACLE
from earwitness.ear.pjmedia import PJMEDIA
from earwitness.plugins import Registry

BUFFERS = Registry("jitter buffer", "earwitness.buffers", BufferKind, (ORACLE, FIXED, ADAPTIVE, PJMEDIA))
"""All jitter buffers; other packages add theirs through entry points of this group."""


def buffer(spec: str) -> JitterBuffer:
    """The jitter buffer for `spec`, for example `fixed:60`. Raises InputError with the valid names."""
    name, rest = options.split(spec)
    return BUFFERS.get(name, "using the jitter buffer", spec).make(spec, rest)
