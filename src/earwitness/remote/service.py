"""`earwitness answer`: wait for calls from the remote machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
from dataclasses import dataclass
from pathlib import Path

from earwitness.capture.live import epoch_offset_ns
from earwitness.errors import InputError
from earwitness.events import Listener, Notice
from earwitness.geography import place as find_place
from earwitness.netns.termination import on_termination_request
from earwitness.remote.answer import open_listener, serve_callers
from earwitness.remote.answering import PATIENCE_S, Answering
from earwitness.remote.certificates import INVITATION, AnswerKeys
from earwitness.remote.client import DEFAULT_PORT, parse_address
from earwitness.remote.machine import Machine
from earwitness.remote.store import CallStore
from earwitness.tor.control_address import ControlAddress

ANY = "0.0.0.0"


@dataclass(frozen=True, kw_only=True)
class AnswerOptions:
    """Options of `earwitness answer`."""

    listen: str = f"{ANY}:{DEFAULT_PORT}"
    keys: Path | None = None
    """Folder that `make_answer_keys` filled; None: keys for this run only."""
    invitation: Path = Path("earwitness-invitation.json")
    """Where the invitation is written if the keys are for this run only; it is removed at the end."""
    reached_at: str = ""
    """Address at which others reach this machine, if it is not its own."""
    place: str = ""
    """City of this machine."""
    name: str = ""
    """Its name in records; empty: its host name."""
    store: Path | None = None
    """Folder for its measurements; None: in the user's state folder."""
    media_port: int = 0
    tor_control: str = ""
    """Control port of the tor that hosts onion services; empty: the usual place."""
    patience_s: float = PATIENCE_S
    """How long a call is kept after its caller has disconnected and its media have stopped."""
    clock_offset_ms: float = 0.0
    """Shift this machine's clock by this much, to test that the caller detects it."""


def make_answer_keys(folder: Path, address: str = "") -> Path:
    """Make keys for answering in `folder`, and the invitation for the caller; return the invitation's path.

    `address` is HOST:PORT as the caller reaches us. Raises `InputError` if `folder` already holds keys.
    """
    keys, invitation = AnswerKeys.make(address)
    keys.write(folder)
    path = folder / INVITATION
    invitation.write(path)
    return path


async def wait_for_calls(options: AnswerOptions, on_event: Listener) -> None:
    """Answer until SIGINT, SIGTERM, SIGHUP or cancellation; all measurements are kept.

    Raises `InputError` if it cannot listen or the keys are unusable.
    """
    city = find_place(options.place).name if options.place else ""
    host, port = parse_address(options.listen, lowest_port=0)
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(open_listener(host, port))
        if options.keys is not None:
            keys = AnswerKeys.read(options.keys)
        else:
            public = options.reached_at or (host if host != ANY else "")
            keys, invitation = AnswerKeys.make(f"{public}:{listener.getsockname()[1]}" if public else "")
            invitation.write(options.invitation)
            stack.callback(options.invitation.unlink, missing_ok=True)
            on_event(
                Notice(
                    f"the invitation for this run is {options.invitation}: give it to the caller over a secure channel"
                )
            )
        answering = Answering(
            machine=Machine(options.name or platform.node() or "callee", city, "", ""),
            store=CallStore(options.store or default_store()),
            epoch_offset_ns=epoch_offset_ns() + round(options.clock_offset_ms * 1e6),
            reached_at=options.reached_at,
            media_port=options.media_port,
            tor_control=ControlAddress.parse(options.tor_control) if options.tor_control else None,
            patience_s=options.patience_s,
        )
        on_event(Notice(f"answering at {host}:{listener.getsockname()[1]}"))
        serving = asyncio.create_task(serve_callers(keys, answering, listener, on_event))
        with on_termination_request(serving.cancel):
            try:
                await serving
            except asyncio.CancelledError:
                on_event(Notice("ended; what was measured is kept"))


def default_store() -> Path:
    """Return the default folder for an answering machine's measurements (XDG base directory specification)."""
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return state / "earwitness" / "answered"


def check_media_port(port: int) -> int:
    """Check a TCP port, 0 for any. Raises `InputError` otherwise."""
    if not 0 <= port < 65536:
        raise InputError(
            "accepting streams at port", port, "no such port", "give 1 to 65535, or 0 for any", field="media_port"
        )
    return port
