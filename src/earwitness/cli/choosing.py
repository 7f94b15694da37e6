"""The options with which a command is told which stream of a capture is meant, and what its payload types mean."""

from __future__ import annotations

from typing import Annotated

import typer

from earwitness.cli import panels

StreamOption = Annotated[
    str | None,
    typer.Option(
        help="Only this stream: its number in the capture, from 1, or its SSRC (0x...). Default: all, or the one that"
        " the capturing phone received.",
        rich_help_panel=panels.CHOICE,
    ),
]
PortOption = Annotated[
    list[int] | None,
    typer.Option(help="UDP port of RTP; repeat it for several. Default: any.", rich_help_panel=panels.CHOICE),
]
SsrcOption = Annotated[
    str | None,
    typer.Option(help="Only packets of this SSRC, such as 0x1234abcd. Default: any.", rich_help_panel=panels.CHOICE),
]
SrtpKeyOption = Annotated[
    list[str] | None,
    typer.Option(
        help="Key of an encrypted call, as in SDP (inline:...) or hexadecimal, master key and salt; repeat for several."
        " Default: those in the capture's SDP.",
        rich_help_panel=panels.METHOD,
    ),
]
PayloadTypeOption = Annotated[
    list[str] | None,
    typer.Option(
        help="Meaning of a payload type: 97=speex/8000; repeat for several. Default: as the SDP and RFC 3551 say.",
        rich_help_panel=panels.METHOD,
    ),
]
