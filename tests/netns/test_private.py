"""What another user puts where our record of a lab belongs is not believed: nothing is entered, run or ended."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from earwitness.errors import EarwitnessError
from earwitness.lab import keeper
from earwitness.lab.plan import LabPlan
from earwitness.netns.joining import run_joined
from earwitness.netns.private import private_folder, runtime_dir
from earwitness.netns.process_identity import ProcessIdentity
from earwitness.tor.control_address import ControlAddress
from earwitness.tor.streams import my_turn
from testing.commands import EARWITNESS

NOBODY = 65534

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user here")


@contextmanager
def process_of(real: int, effective: int) -> Iterator[subprocess.Popen[bytes]]:
    """A process with these user ids; a set-uid program of root's keeps its caller's real one."""

    def become() -> None:
        os.setresuid(real, effective, effective)

    with subprocess.Popen(["sleep", "60"], preexec_fn=become) as process:
        try:
            yield process
        finally:
            process.kill()


def record_of(pid: int) -> bytes:
    identity = {"pid": pid, "started": ProcessIdentity.of(pid).started}
    plan = LabPlan(with_tor=False).to_dict()
    values = {"keeper": identity, "init": identity, "plan": plan, "started_at": 1.0, "namespaces": [1], "ready": True}
    return json.dumps(values).encode()


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "runtime"
    folder.mkdir()
    monkeypatch.setenv("EARWITNESS_RUNTIME", str(folder))
    return folder


def earwitness(*arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [*EARWITNESS, *arguments]
    environment = {**os.environ, "COLUMNS": "200"}
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, env=environment)


@root_only
@pytest.mark.parametrize("what", [("call", "--path", "direct"), ("lab", "down"), ("lab", "status"), ("lab", "up")])
def test_another_users_folder_in_the_place_of_ours(runtime: Path, tmp_path: Path, what: tuple[str, ...]) -> None:
    with process_of(NOBODY, NOBODY) as theirs:
        (runtime / "lab.json").write_bytes(record_of(theirs.pid))
        os.chown(runtime, NOBODY, NOBODY)
        out = ("--out", str(tmp_path / "out")) if what[0] == "call" else ()
        refused = earwitness(*what, *out)
        assert refused.returncode == 1
        assert refused.stderr.startswith("earwitness: using ")
        assert "it belongs to another user (id 65534)" in refused.stderr
        assert len(refused.stderr.splitlines()) == 1
        assert theirs.poll() is None


@root_only
def test_another_users_record_in_a_folder_of_ours(runtime: Path) -> None:
    with process_of(NOBODY, NOBODY) as theirs:
        (runtime / "lab.json").write_bytes(record_of(theirs.pid))
        os.chown(runtime / "lab.json", NOBODY, NOBODY)
        with pytest.raises(EarwitnessError, match="belongs to another user"):
            keeper.end_keeper()
        assert theirs.poll() is None


@root_only
@pytest.mark.parametrize("effective", [NOBODY, 0], ids=["theirs", "a set-uid program of theirs"])
def test_another_users_process_is_neither_entered_nor_ended(runtime: Path, effective: int) -> None:
    with process_of(NOBODY, effective) as theirs:
        (runtime / "lab.json").write_bytes(record_of(theirs.pid))
        with pytest.raises(EarwitnessError, match=f"process {theirs.pid} of it is another user's"):
            keeper.end_keeper()
        identity = ProcessIdentity.of(theirs.pid)
        assert not identity.ours()
        with pytest.raises(EarwitnessError, match="another user's"):
            run_joined(identity, ["true"])
        with pytest.raises(EarwitnessError, match="another user's"):
            identity.end(signal.SIGKILL, 1.0)
        assert theirs.poll() is None
    with process_of(os.getuid(), os.geteuid()) as mine:
        assert ProcessIdentity.of(mine.pid).ours()


def test_a_link_in_the_place_of_the_folder_or_the_record(
    runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").write_bytes(record_of(os.getpid()))
    (runtime / "lab.json").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EarwitnessError, match=r"lab\.json: it is a symbolic link"):
        keeper.current()
    monkeypatch.setenv("EARWITNESS_RUNTIME", str(tmp_path / "link"))
    (tmp_path / "link").symlink_to(runtime)
    with pytest.raises(EarwitnessError, match="it is a symbolic link"):
        keeper.current()


@pytest.mark.parametrize("mode", [0o770, 0o777, 0o1777])
def test_a_folder_that_others_may_write_to(runtime: Path, mode: int) -> None:
    runtime.chmod(mode)
    with pytest.raises(EarwitnessError, match=f"others may write to it .mode 0?{mode:o}"):
        keeper.current()


@pytest.mark.timeout(20)
def test_a_pipe_in_the_place_of_the_record_does_not_hang(runtime: Path) -> None:
    os.mkfifo(runtime / "lab.json")
    with pytest.raises(EarwitnessError, match="it is a pipe, not a file"):
        keeper.current()


@pytest.mark.parametrize(
    "spoiled",
    [
        lambda good: b"",
        lambda good: b"[]",
        lambda good: b"\xff" + good,
        lambda good: good.replace(b'"pid"', b'"pit"'),
        lambda good: good.replace(b'"started": ', b'"started": 1e'),
        lambda good: good.replace(b'"plan": {', b'"plan": {"relays": -5, "odd": 1, '),
        lambda good: b"[" * 100_000,
        lambda good: good + b" " * (1 << 20),
    ],
)
def test_a_damaged_record_is_one_line(runtime: Path, spoiled: Callable[[bytes], bytes]) -> None:
    (runtime / "lab.json").write_bytes(spoiled(record_of(os.getpid())))
    with pytest.raises(EarwitnessError, match=r"lab\.json: .*remove"):
        keeper.current()


def test_the_folder_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    with private_folder(tmp_path / "new") as none:
        assert none is None
    with private_folder(tmp_path / "new", create=True) as folder:
        assert folder is not None
        assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
        folder.replace("record", b"one")
        folder.replace("record", b"two")
        assert folder.read("record", 3) == b"two"
        assert (tmp_path / "new" / "record").stat().st_mode & 0o777 == 0o600
        assert [path.name for path in (tmp_path / "new").iterdir()] == ["record"]
        with pytest.raises(EarwitnessError, match=r"it is too large \(3 bytes, at most 2 bytes\)"):
            folder.read("record", 2)


def test_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EARWITNESS_RUNTIME", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    if os.geteuid() == 0 and os.access("/run", os.W_OK):
        assert runtime_dir() == Path("/run/earwitness-0")  # also with `sudo -E`, which hands on another's session
    else:
        assert runtime_dir() == tmp_path / "earwitness"
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
    if os.getuid() == 0:  # the session's directory is root's, not this user's
        assert runtime_dir().name == f"earwitness-{NOBODY}"
        assert runtime_dir().parent != tmp_path


@pytest.mark.timeout(20)
def test_a_lock_that_somebody_else_put_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    address = ControlAddress(path=tmp_path / "control")

    async def take() -> None:
        async with my_turn(address) as turn:
            turn.restored = False

    asyncio.run(take())
    (lock,) = tmp_path.iterdir()
    lock.unlink()
    os.mkfifo(lock)
    with pytest.raises(EarwitnessError, match="it is not a file"):
        asyncio.run(take())
    lock.unlink()
    lock.symlink_to(tmp_path / "target")
    with pytest.raises(EarwitnessError, match="opening the lock"):
        asyncio.run(take())
    assert not (tmp_path / "target").exists()
    if os.geteuid() == 0:
        lock.unlink()
        lock.write_bytes(b"1")
        os.chown(lock, NOBODY, NOBODY)
        with pytest.raises(EarwitnessError, match=r"opening the lock .*(another user|denied)"):
            asyncio.run(take())
