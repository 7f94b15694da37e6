"""How a kind is told from the others in tables and figures: plain data, which the report turns into marks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Colour = Literal["blue", "vermilion", "green", "purple", "orange", "sky", "yellow", "black", "grey"]
"""Of Okabe and Ito's palette (jfly.uni-koeln.de/color, 2008), safe for the three common colour-vision deficiencies."""
Dash = Literal["solid", "dashed", "dotted", "dash-dot", "long", "dash-dot-dot", "long-dot"]
Marker = Literal["circle", "square", "triangle", "diamond", "wedge", "plus", "cross", "none"]
Hatch = Literal["none", "slashes", "dots", "crosses", "backslashes", "grid", "bars"]


@dataclass(frozen=True)
class Look:
    """A label for people, and a colour; where there is no colour, the dash, the marker and the hatch tell it apart."""

    label: str
    colour: Colour
    dash: Dash = "solid"
    marker: Marker = "circle"
    hatch: Hatch = "none"
