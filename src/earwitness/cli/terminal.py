"""The console that all output for people goes through: what is printed is data, and data does nothing.

Strings are never read as rich's markup, nor `:names:` as emoji; characters that act on a terminal are shown
(`earwitness.printable`), wherever in a table, bar or panel they stand. Styles are given as `rich.text.Text`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.status import Status
from rich.text import Text

from earwitness.printable import ACTING, visible

_REFUSAL = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")
"""Typer brings its own copy of click, under a private name."""


class SafeConsole(Console):
    """A console on which nothing acts but rich's own styles and cursor movements."""

    def render_str(self, text: str, **options: Any) -> Text:
        """The string as text; before rich drops the controls that it knows, so that they are seen too."""
        return super().render_str(visible(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Everything that is drawn, at any depth, comes through here."""
        for segment in super().render(_harmless(renderable), options):
            if segment.control is None and ACTING.search(segment.text):
                yield Segment(visible(segment.text), segment.style)
            else:
                yield segment


class DataConsole(SafeConsole):
    """A `SafeConsole` that reads no string as markup, whoever asks for it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """As it stands."""
        return super().render_str(text, **{**options, "markup": False, "emoji": False})

    def status(self, status: RenderableType, **options: Any) -> Status:
        """A line that changes; rich's own reads it as markup."""
        return _PlainStatus(_as_text(status), console=self, **options)


class _PlainStatus(Status):
    def update(self, status: RenderableType | None = None, **options: Any) -> None:
        super().update(None if status is None else _as_text(status), **options)


class VisibleFormatter(logging.Formatter):
    """What other libraries say on standard error."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, in which nothing acts."""
        return visible(super().format(record))


def show_refusal(fault: Exception) -> int | None:
    """Show Typer's refusal of the command line, drawn as it draws it; its exit code, None for any other exception."""
    if isinstance(fault, _REFUSAL):
        from typer import rich_utils  # a fifth of a second, which no good command need wait

        vars(rich_utils)["Console"] = SafeConsole
        rich_utils.rich_format_error(fault)  # type: ignore[arg-type]
        return int(getattr(fault, "exit_code", 2))
    if isinstance(fault, typer.Abort):
        return 1
    return None


def _as_text(status: RenderableType) -> RenderableType:
    return Text(visible(status)) if isinstance(status, str) else status


def _harmless(renderable: RenderableType) -> RenderableType:
    """A text with the acting characters shown before its lines are laid out, so that they are counted."""
    if not isinstance(renderable, Text) or not ACTING.search(renderable.plain):
        return renderable
    made = renderable.blank_copy()
    for piece in renderable.divide(_cuts(renderable.plain)):
        text = visible(piece.plain)
        one = Text(text, end="")
        for span in piece.spans:
            # A piece that grew was one character: what styled it styles all of what it became.
            one.stylize(span.style, span.start, span.end if text == piece.plain else len(text))
        made.append_text(one)
    return made


def _cuts(text: str) -> list[int]:
    """Where to cut so that each acting character is a piece of its own."""
    return sorted({at for match in ACTING.finditer(text) for at in match.span()} - {0, len(text)})
