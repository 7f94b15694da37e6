"""The report: one self-contained HTML file that works from disk and executes nothing from a record."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from markupsafe import Markup

from earwitness.archive.dataset import Dataset
from earwitness.archive.layout import REPORT
from earwitness.archive.problems import Problem
from earwitness.archive.staging import write_atomically
from earwitness.archive.storing import check_output, storing
from earwitness.events import Listener, ignore
from earwitness.report.overview import path_class
from earwitness.report.page import Page, build_page
from earwitness.report.templates import asset, template
from earwitness.report.words import VERDICT_SYMBOLS, codec_label, number_text, percent_text
from earwitness.report.worldmap import land

MOST_CALLS = 24
"""Calls shown in full by default: about 250 kB each with audio."""


def write_report(
    dataset: Path | str,
    out: Path | str | None = None,
    *,
    calls: int | None = MOST_CALLS,
    on_event: Listener = ignore,
    problems: list[Problem] | None = None,
) -> Path:
    """Write the report of the data set at `dataset` to `out` (default: report.html in it) and return its path.

    `calls`: the number of calls shown in full (None: all); the page says which and how many are not. Problems with
    calls are shown on the page and added to `problems`.
    Raises InputError if there is no data set, CallFailure if the file cannot be written.
    """
    opened = Dataset.open(dataset)
    target = Path(out) if out is not None else opened.path / REPORT
    check_output(target)
    page = build_page(opened, calls, on_event)
    if problems is not None:
        problems.extend(page.problems)
    text = render_page(page)
    with storing(target):
        if out is None:
            opened.check_there()
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, text.encode(), durable=False)
    return target


def render_page(page: Page) -> str:
    """The page as HTML. Everything from the data set is escaped; only the package's style and script run (CSP
    hashes)."""
    css, js = asset("report.css"), asset("report.js")
    return template("report.html.j2").render(
        page=page,
        css=Markup(css),  # from the package
        js=Markup(js),  # from the package
        css_hash=_hash(css),
        js_hash=_hash(js),
        land=land(),
        symbols=VERDICT_SYMBOLS,
        rank={word: i for i, word in enumerate(VERDICT_SYMBOLS)},
        number=number_text,
        percent=percent_text,
        codec_label=codec_label,
        path_class=path_class,
    )


def _hash(content: str) -> str:
    return base64.b64encode(hashlib.sha256(content.encode()).digest()).decode("ascii")
