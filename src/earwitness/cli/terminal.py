"""The console for all human-readable output, which treats printed strings as data.

Strings are never interpreted as rich markup, nor `:names:` as emoji; control characters are escaped
(`earwitness.printable`) anywhere in tables, bars and panels. Styles are given as `rich.text.Text`.
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
"""Typer includes its own copy of click, under a private name."""


class SafeConsole(Console):
    """A console that emits no control characters except rich's own styles and cursor movements."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Convert a string to text before rich drops the control characters that it knows, so that these show too."""
        return super().render_str(visible(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Everything drawn, at any depth, passes through here."""
        for segment in super().render(_harmless(renderable), options):
            if segment.control is None and ACTING.search(segment.text):
                yield Segment(visible(segment.text), segment.style)
            else:
                yield segment


class DataConsole(SafeConsole):
    """A `SafeConsole` that interprets no string as markup."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Return the text unchanged."""
        return super().render_str(text, **{**options, "markup": False, "emoji": False})

    def status(self, status: RenderableType, **options: Any) -> Status:
        """A status line; rich's own would interpret it as markup."""
        return _PlainStatus(_as_text(status), console=self, **options)


class _PlainStatus(Status):
    def update(self, status: RenderableType | None = None, **options: Any) -> None:
        super().update(None if status is None else _as_text(status), **options)


class VisibleFormatter(logging.Formatter):
    """Log messages of other libraries on standard error."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, with control characters escaped."""
        return visible(super().format(record))


def show_refusal(fault: Exception) -> int | None:
    """Show Typer's error in Typer's style; returns its exit code, or None for any other exception."""
    if isinstance(fault, _REFUSAL):
        from typer import rich_utils  # takes a fifth of a second, which valid commands need not wait for

        vars(rich_utils)["Console"] = SafeConsole
        rich_utils.rich_format_error(fault)  # type: ignore[arg-type]
        return int(getattr(fault, "exit_code", 2))
    if isinstance(fault, typer.Abort):
        return 1
    return None


def _as_text(status: RenderableType) -> RenderableType:
    return Text(visible(status)) if isinstance(status, str) else status


def _harmless(renderable: RenderableType) -> RenderableType:
    """A text whose control characters are escaped before layout, so that the escapes count towards its width."""
    if not isinstance(renderable, Text) or not ACTING.search(renderable.plain):
        return renderable
    made = renderable.blank_copy()
    for piece in renderable.divide(_cuts(renderable.plain)):
        text = visible(piece.plain)
        one = Text(text, end="")
        for span in piece.spans:
            # A piece that grew was one character; its style applies to the whole escape.
            one.stylize(span.style, span.start, span.end if text == piece.plain else len(text))
        made.append_text(one)
    return made


def _cuts(text: str) -> list[int]:
    """Where to cut so that each control character is its own piece."""
    return sorted({at for match in ACTING.finditer(text) for at in match.span()} - {0, len(text)})
