"""Whose names are in a data set, and what they are called in a bundle with pseudonyms."""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
from pathlib import Path

from earwitness.archive.layout import CALLS, RECORD, TRUTH
from earwitness.archive.record import CallRecord
from earwitness.bundle.journal import copied_journal
from earwitness.bundle.masked import read_table
from earwitness.bundle.names import Names
from earwitness.bundle.pseudonyms import Pseudonyms
from earwitness.bundle.reading import DAMAGE, LARGEST_FILE, LARGEST_TEXT, refuse_links, short_reason
from earwitness.errors import InputError
from earwitness.files import OpenFolder
from earwitness.study.lock import STUDY, STUDY_FILE

KEY_FILE = "pseudonyms.key"
"""In `DIR/study/`, never in a bundle: who has it can tell which pseudonym is whose."""


def pseudonyms_of(directory: Path, near: Path) -> Pseudonyms:
    """Collect all names in the data set and create their pseudonyms, and the key if there is none yet."""
    names = Names.of_here(directory)
    with OpenFolder.of(directory) as top:
        refuse_links(top, directory)
        if top.is_folder(CALLS):
            with top.folder(CALLS) as calls:
                for name in calls.names():
                    if calls.is_folder(name):
                        with calls.folder(name) as folder:
                            _names_of_call(folder, names)
        if top.is_folder(STUDY):
            with top.folder(STUDY) as study:
                _names_of_study(study, names, near)
        found = names.settled()
        if not top.is_folder(STUDY):
            (directory / STUDY).mkdir()
    return Pseudonyms(_key(directory / STUDY), found.relays, found.machines, found.people, found.files)


def _names_of_call(folder: OpenFolder, names: Names) -> None:
    try:
        with folder.open(RECORD, LARGEST_TEXT) as file:
            names.in_record(CallRecord.from_json(file.read(LARGEST_TEXT)))
    except DAMAGE:
        return  # the call will be left out and reported
    try:
        with folder.open(TRUTH, LARGEST_FILE) as file:
            table = read_table(file)
        for column in ("source", "destination"):
            names.relays |= {str(name) for name in table.column(column).unique().to_pylist() if name}
    except DAMAGE:
        return


def _names_of_study(study: OpenFolder, names: Names, near: Path) -> None:
    try:
        with study.open(STUDY_FILE, LARGEST_TEXT) as file:
            names.in_study(file.read(LARGEST_TEXT).decode("utf-8", "replace"))
    except OSError:
        pass
    try:
        with copied_journal(study, near) as journal:
            for (owner,) in journal.execute("SELECT owner FROM runs"):
                names.in_values(json.loads(owner))
            for (plan,) in journal.execute("SELECT plan FROM calls"):
                names.in_plan(json.loads(plan))
    except (*DAMAGE, sqlite3.DatabaseError, AttributeError):
        return


def _key(study: Path) -> bytes:
    path = study / KEY_FILE
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        try:
            with OpenFolder.of(study) as inside, inside.open(KEY_FILE, 1024) as file:
                key = bytes.fromhex(file.read(1024).decode("ascii"))
            if len(key) != 32:
                raise ValueError(f"{len(key)} bytes, not 32")
        except (OSError, ValueError) as error:
            raise InputError(
                "reading the key", path, short_reason(error), "restore it, or remove it: a new one is made"
            ) from None
        return key
    with os.fdopen(descriptor, "w") as opened:
        key = secrets.token_bytes(32)
        opened.write(key.hex())
    return key
