"""Texts that users hand over, when they are something else: pipes, devices, gigabytes, binary, nested without end."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from earwitness.call.accounts import _accounts_in
from earwitness.cluster.keys import AUTHORITY_CERTIFICATE, ClusterKeys
from earwitness.emulator.link_profile import LinkProfile, read_delay_trace
from earwitness.errors import InputError
from earwitness.published.calls_csv import read_published_csv
from earwitness.published.tidy import read_ends
from earwitness.remote.certificates import Invitation
from earwitness.study.file import read_study

READERS: dict[str, Callable[[Path], object]] = {
    "study": read_study,
    "accounts": _accounts_in,
    "invitation": Invitation.read,
    "delay trace": read_delay_trace,
    "published table": read_published_csv,
    "link": lambda path: LinkProfile().with_spec(f"trace={path}"),
}


@pytest.fixture(params=list(READERS))
def read(request: pytest.FixtureRequest) -> Callable[[Path], object]:
    return READERS[request.param]


def refused(read: Callable[[Path], object], path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read(path)
    return str(caught.value)


@pytest.mark.timeout(60)
def test_what_is_no_file_is_one_line_without_waiting(read: Callable[[Path], object], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    assert "a pipe" in refused(read, tmp_path / "fifo")
    if read not in (READERS["accounts"], READERS["invitation"]):  # others may read that one
        assert "a device" in refused(read, Path("/dev/zero"))


@pytest.mark.timeout(60)
def test_a_gigabyte_is_refused_unread(read: Callable[[Path], object], tmp_path: Path) -> None:
    (tmp_path / "large").touch(0o600)
    os.truncate(tmp_path / "large", 1 << 30)
    assert "too large" in refused(read, tmp_path / "large")


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe\0\x80binary" * 100,
        b"\0" * 1000,
        b"a = " + b"[" * 100_000,
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"a = " + b"{a=" * 50_000,
        b"a" + b".a" * 60_000 + b" = 1",
        b"a = " + b"9" * 10_000,
        b"",
    ],
    ids=["binary", "zeros", "array", "list", "object", "inline tables", "dotted key", "long number", "empty"],
)
@pytest.mark.timeout(60)
def test_what_no_parser_takes_is_one_line(read: Callable[[Path], object], tmp_path: Path, content: bytes) -> None:
    (tmp_path / "text").touch(0o600)
    (tmp_path / "text").write_bytes(content)
    if read is READERS["accounts"] and not content:
        assert read(tmp_path / "text") == {"caller": None, "callee": None}
        return
    told = refused(read, tmp_path / "text")
    # A study's faults are a line each.
    assert len(told.splitlines()) == 1 or read is READERS["study"]
    assert len(told) < 2000


@pytest.mark.timeout(60)
def test_keys_and_tables_of_a_folder_that_are_pipes(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / AUTHORITY_CERTIFICATE, 0o600)
    with pytest.raises(InputError, match="a pipe"):
        ClusterKeys.read(tmp_path)
    os.mkfifo(tmp_path / "table.csv")
    with pytest.raises(InputError, match="no CSV"):
        read_ends(tmp_path)
