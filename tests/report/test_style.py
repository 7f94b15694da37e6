from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from earwitness.report import style


@style.paper()
def _draw(stem: Path) -> list[Path]:
    drawing, axes = style.new_figure()
    x = np.linspace(0, 1, 50)
    axes.plot(x, x**2, **style.path_style("tor", 3).line())
    axes.bar([0.2, 0.4], [0.1, 0.2], width=0.1, **style.codec_style("opus:24000").bar())
    axes.set_xlabel("one-way delay, ms")
    axes.legend()
    return style.save(drawing, stem)


def test_the_same_drawing_gives_the_same_bytes(tmp_path: Path) -> None:
    first = [path.read_bytes() for path in _draw(tmp_path / "a" / "figure.v1")]
    second = [path.read_bytes() for path in _draw(tmp_path / "b" / "figure.v1")]
    assert first == second
    assert (tmp_path / "a" / "figure.v1.pdf").exists()


def test_pdf_embeds_its_fonts_and_holds_no_date(tmp_path: Path) -> None:
    pdf = _draw(tmp_path / "figure")[0].read_bytes()
    assert b"FontFile2" in pdf
    assert b"/Type3" not in pdf
    assert b"CreationDate" not in pdf


def test_column_width(tmp_path: Path) -> None:
    drawing, _ = style.new_figure()
    assert drawing.get_size_inches()[0] == pytest.approx(3.3)


@pytest.mark.parametrize("family", [["g711u", "g711a", "gsm", "speex", "opus"], ["direct", "vpn", "vpn-tor", "onion"]])
def test_marks_differ_without_colour(family: list[str]) -> None:
    marks = [
        style.codec_style(name) if name in ("g711u", "g711a", "gsm", "speex", "opus") else style.path_style(name)
        for name in family
    ]
    marks += [style.path_style("tor", 2), style.path_style("tor", 3)] if "direct" in family else []
    assert len({mark.dash for mark in marks}) == len(marks)
    assert len({mark.hatch for mark in marks}) == len(marks)
    assert len({mark.marker for mark in marks}) == len(marks)


def test_spare_marks_are_distinct_for_a_long_time() -> None:
    assert len({(m.colour, m.dash) for m in (style.series_style(i, str(i)) for i in range(42))}) == 42


def test_a_name_with_dollars_is_drawn_as_it_is(tmp_path: Path) -> None:
    """What stands between two dollars is a formula to matplotlib, and one that is none an error."""
    from matplotlib.text import Text

    name = "$\\frac{$ 5$ a\x1b[2J"
    with style.paper():
        drawing, axes = style.new_figure()
        axes.plot([1, 10, 100], [1, 2, 3], label=name)
        axes.set_xscale("log")
        axes.set_yticks([1, 2, 3], [name, "b", "c"])
        axes.set_title(name)
        axes.set_xlabel(name)
        axes.annotate(name, (1, 1))
        axes.legend(title=name)
        other = drawing.add_axes((0.1, 0.1, 0.2, 0.2))
        other.bar([name, "b"], [1, 2])
    first = style.save(drawing, tmp_path / "a")
    assert all(path.stat().st_size for path in first)
    shown = {text.get_text() for text in drawing.findobj(Text)}
    assert not [text for text in shown if "\x1b" in text]
    assert [text for text in shown if "mathdefault" in text], "the numbers of a logarithmic axis are formulas still"
    again = style.save(drawing, tmp_path / "b")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]
