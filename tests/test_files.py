"""Files of strangers: what is no file is refused at once, and no more is read than was asked for."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from earwitness.files import UnfitFile, UnfitTarget, check_replaceable, open_regular, read_regular, replacing

pytestmark = pytest.mark.timeout(10)


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"sound")
    assert read_regular(tmp_path / "file", 5) == b"sound"


def test_a_pipe_without_a_writer_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnfitFile, match="it is a pipe, not a file"):
        read_regular(tmp_path / "pipe", 100)


def test_devices_directories_and_sockets_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnfitFile, match="a device"):
        read_regular("/dev/zero", 100)
    with pytest.raises(UnfitFile, match="a directory"):
        read_regular(tmp_path, 100)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        with pytest.raises(UnfitFile, match="a socket"):
            read_regular(tmp_path / "socket", 100)


def test_a_sparse_terabyte_is_refused_by_its_size(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UnfitFile, match=r"too large \(1048576 MiB, at most 1 MiB\)"):
        read_regular(tmp_path / "sparse", 1 << 20)


def test_a_link_is_followed_only_where_it_may_be(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "link").symlink_to("secret")
    assert read_regular(tmp_path / "link", 100) == b"secret"
    with pytest.raises(UnfitFile, match="symbolic link"):
        read_regular(tmp_path / "link", 100, follow=False)


def test_a_refused_file_leaves_no_descriptor_open(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        with pytest.raises(UnfitFile):
            open_regular("/dev/zero")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_what_is_not_there_is_an_ordinary_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "nothing", 1)


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/a-new-file", "/dev/../dev/full"])
def test_nothing_is_written_among_devices(name: str) -> None:
    with pytest.raises(UnfitTarget, match=r"in /dev|not a file"):
        check_replaceable(Path(name))


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    link.symlink_to(target)

    def failing() -> None:
        with replacing(target) as draft:
            draft.write_text("new")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    assert (target.read_text(), len(list(tmp_path.iterdir()))) == ("old", 2)
    with replacing(link) as draft:
        draft.write_text("new")
    assert (target.read_text(), link.read_text(), link.is_symlink()) == ("old", "new", False)
    with replacing(tmp_path / ("x" * 250)) as draft:  # its draft's name would be too long
        draft.write_text("new")


def test_what_took_the_name_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "target"

    def overtaken() -> None:
        with replacing(target) as draft:
            draft.write_text("new")
            os.mkfifo(target)

    with pytest.raises(UnfitTarget, match="a pipe"):
        overtaken()
    assert [path.name for path in tmp_path.iterdir()] == ["target"]
