"""Make src/earwitness/report/assets/land.txt: the outline of the land, for the report's maps.

Source: Natural Earth 1:110m "Admin 0 - Countries" (naturalearthdata.com), in the public domain, as the PyPI package
geopandas 0.14.4 ships it (geopandas/datasets/naturalearth_lowres). Needs `shapely` and `pyshp`, which Earwitness itself
does not:

    python tools/make_land.py geopandas/datasets/naturalearth_lowres/naturalearth_lowres.shp
"""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import shapefile
from shapely.geometry import MultiPolygon, box, shape
from shapely.ops import unary_union

TARGET = Path(__file__).parent.parent / "src" / "earwitness" / "report" / "assets" / "land.txt"
SOUTH = -57.0  # without Antarctica: nobody calls from there, and it is a third of the height
SIMPLIFY_DEGREES = 0.15
STEP = 0.1
SMALLEST_SQUARE_DEGREES = 0.4


def main() -> None:
    """Join the countries, thin the outline, write it as relative steps of a tenth of a degree."""
    countries = [shape(item.__geo_interface__).buffer(0.05) for item in shapefile.Reader(sys.argv[1]).shapes()]
    land = unary_union(countries).buffer(-0.05).intersection(box(-180, SOUTH, 180, 84)).simplify(SIMPLIFY_DEGREES)
    assert isinstance(land, MultiPolygon)
    path = []
    for polygon in sorted(land.geoms, key=lambda part: -part.area):
        if polygon.area < SMALLEST_SQUARE_DEGREES:
            continue
        for ring in (polygon.exterior, *polygon.interiors):
            points = [(round(x / STEP), round(-y / STEP)) for x, y in ring.coords[:-1]]
            steps = [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(points)]
            text = " ".join(f"{x} {y}" for x, y in steps if (x, y) != (0, 0))
            path.append(f"M{points[0][0]} {points[0][1]}l{text.replace(' -', '-')}z")
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text("\n".join(path) + "\n", encoding="ascii")
    print(f"{TARGET}: {TARGET.stat().st_size} bytes, {len(path)} rings")


if __name__ == "__main__":
    main()
