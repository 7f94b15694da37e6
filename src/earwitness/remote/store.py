"""The answering side's store: captures, reports and process events of each call, by call id."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from earwitness.archive.layout import check_call_id
from earwitness.errors import CallFailure, InputError, Outcome
from earwitness.remote.bounds import MOST_EVENTS

KEPT_CALLS = 50
"""Calls kept; beyond this the oldest are deleted. A call of a minute is about 2 MB."""
KEPT_BYTES = 4 << 30
"""Total size before a new call; beyond this the oldest are deleted too."""
EVENTS = "events.jsonl"
CAPTURE = "callee.pcap"
SPEECH = "speech.wav"
RECORDING = "linphone.wav"


class CallStore:
    """A folder with one subfolder per call."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def new(self, call_id: str) -> StoredEnd:
        """Create a call's folder. Raises `InputError` for an unusable name, `CallFailure` if it cannot be created."""
        check_call_id(call_id, self.folder)
        here = self.folder / call_id
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            here.mkdir(mode=0o700)
        except FileExistsError as error:
            raise InputError("keeping call", call_id, "it already exists", "place it under another id") from error
        except OSError as error:
            raise CallFailure(
                Outcome.STORAGE_FAILED, "keeping the call in", on=here, happened=error, remedy="free space there"
            ) from error
        self._forget_oldest(here)
        return StoredEnd(here)

    def find(self, call_id: str) -> StoredEnd:
        """Find a stored call. Raises `InputError` if there is none."""
        check_call_id(call_id, self.folder)
        if not (self.folder / call_id).is_dir():
            raise InputError("fetching call", call_id, "it is not kept there", "see the answering machine's folder")
        return StoredEnd(self.folder / call_id)

    def _forget_oldest(self, newest: Path) -> None:
        kept = sorted((path for path in self.folder.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime)
        room = KEPT_BYTES
        for nth, path in enumerate(reversed(kept)):
            room -= sum(file.lstat().st_size for file in path.iterdir())
            if path != newest and (nth >= KEPT_CALLS or room < 0):
                shutil.rmtree(path, ignore_errors=True)


class StoredEnd:
    """One end of one call on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._full = False

    def file(self, name: str) -> Path:
        """Return the path of a file of the call. Raises `InputError` for a name that leads elsewhere."""
        if Path(name).name != name or name.startswith("."):
            raise InputError("fetching", name, "not the name of a file of the call", "report this as a bug")
        return self.folder / name

    def files(self) -> dict[str, int]:
        """Return the files' names and sizes in bytes."""
        return {path.name: path.stat().st_size for path in sorted(self.folder.iterdir()) if path.is_file()}

    def note(self, child: str, event: Mapping[str, Any]) -> None:
        """Append an event of a process at once, so that it survives the connection and this process."""
        if self._full:
            return
        line = json.dumps({"from": child, **event}) + "\n"
        with (self.folder / EVENTS).open("a", encoding="utf-8") as lines:
            self._full = lines.tell() + len(line) > MOST_EVENTS
            lines.write(json.dumps({"event": "full", "most_bytes": MOST_EVENTS}) + "\n" if self._full else line)
