"""How tables and figures show a kind, as plain data that the report turns into marks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Colour = Literal["blue", "vermilion", "green", "purple", "orange", "sky", "yellow", "black", "grey"]
"""Okabe and Ito's palette (jfly.uni-koeln.de/color, 2008), safe for the three common colour-vision deficiencies."""
Dash = Literal["solid", "dashed", "dotted", "dash-dot", "long", "dash-dot-dot", "long-dot"]
Marker = Literal["circle", "square", "triangle", "diamond", "wedge", "plus", "cross", "none"]
Hatch = Literal["none", "slashes", "dots", "crosses", "backslashes", "grid", "bars"]


@dataclass(frozen=True)
class Look:
    """A label and a colour, and a dash, a marker and a hatch that distinguish the kind without colour."""

    label: str
    colour: Colour
    dash: Dash = "solid"
    marker: Marker = "circle"
    hatch: Hatch = "none"
