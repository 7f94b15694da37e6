"""Work on stored calls, spread over a cluster: a `concurrent.futures.Executor` whose tasks carry their files.

Workers never open paths of the requesting machine. Files are identified by their digest: each is sent once to a worker
that needs it, regardless of the number of tasks, and kept there under its digest while the worker runs.
"""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, TypeVar

from distributed import Client, get_worker
from distributed import Future as DaskFuture
from distributed.comm.core import CommClosedError
from distributed.scheduler import KilledWorker, NoValidWorkerError, NoWorkerError

from earwitness.archive.staging import write_atomically
from earwitness.cluster.agreement import check_agreement
from earwitness.cluster.dask import (
    AGREEMENT,
    JOIN_S,
    SCORING,
    UNSCORED_S,
    cluster_address,
    in_our_words,
    use_our_settings,
)
from earwitness.cluster.keys import ClusterKeys
from earwitness.errors import EarwitnessError
from earwitness.files import MIB, read_regular
from earwitness.replay.whatif_calls import Direction
from earwitness.replay.whatif_journal import Record

REMEMBERED = 256
"""Files kept in the cluster after the last task that used them; tasks with the same file follow one another."""
_FILES_OF_A_WORKER = 512
LARGEST_BROUGHT = 256 * MIB
"""Limit of one file: that of a trace."""


class Task(Protocol):
    """Work on one direction of a stored call, such as `earwitness.replay.tasks.ReplayTask`."""

    @property
    def heard(self) -> Direction:
        """The direction to hear again."""
        ...


T = TypeVar("T", bound=Task)


@dataclass(frozen=True)
class Brought:
    """A file sent along: the direction's field that names it, its original name, and its content."""

    field: str
    path: str
    digest: str


class CarryingExecutor(Executor):
    """Runs tasks on the scorers of a cluster."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._inner: Any = client.get_executor(resources={SCORING: 1}, pure=False)
        self._contents: OrderedDict[str, DaskFuture[bytes]] = OrderedDict()

    def submit(self, work: Callable[..., Any], /, *given: Any, **named: Any) -> Future[Any]:
        """See `Executor.submit`; `given` is one `Task`."""
        (task,) = given
        brought = [
            Brought(field, str(path), _digest_of(str(path))) for field, path in sorted(task.heard.files().items())
        ]
        contents = [self._content(one) for one in brought]
        future: Future[Any] = self._inner.submit(work_brought, work, task, brought, contents, **named)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no more tasks; the cluster keeps running. Without `wait`, Dask cancels unfinished ones."""
        self._contents.clear()
        self._inner.shutdown(wait)

    def _content(self, one: Brought) -> DaskFuture[bytes]:
        """A file's content in the cluster, sent as a task's argument, so that it can be recovered if the worker that
        keeps it is lost.
        """
        if one.digest in self._contents:
            self._contents.move_to_end(one.digest)
            return self._contents[one.digest]
        content = read_regular(one.path, LARGEST_BROUGHT)
        future = self._client.submit(_as_it_is, content, key=f"file-{one.digest}", pure=False, resources={SCORING: 1})
        self._contents[one.digest] = future
        while len(self._contents) > REMEMBERED:
            self._contents.popitem(last=False)
        return future


def work_brought(work: Callable[[T], Record], task: T, brought: Sequence[Brought], contents: Sequence[bytes]) -> Record:
    """Runs on a scorer: the work on the files sent along. Its record uses their original names."""
    folder = Path(get_worker().local_directory) / "brought"
    here = {one.field: _kept(folder, one, content) for one, content in zip(brought, contents, strict=True)}
    found: dict[str, Any] = {field: str(path) for field, path in here.items()}
    record = work(replace(task, heard=replace(task.heard, **found)))  # type: ignore[type-var]
    names = {found[one.field]: one.path for one in brought}
    return {key: _at_home(value, names) for key, value in record.items()}


def _kept(folder: Path, one: Brought, content: bytes) -> Path:
    """Store the file under its digest and its own name, which may indicate its kind."""
    path = folder / one.digest / Path(one.path).name
    if path.exists():
        os.utime(path.parent)  # mark as used, so that shared speech is not evicted
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content, durable=False)
    _forget_longest_unused(folder)
    return path


def _forget_longest_unused(folder: Path) -> None:
    kept = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime)
    for old in kept[:-_FILES_OF_A_WORKER]:
        for path in old.iterdir():
            path.unlink()
        old.rmdir()


def _at_home(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        for here, there in names.items():
            value = value.replace(here, there)
    return value


def _as_it_is(content: bytes) -> bytes:
    return content


@lru_cache(maxsize=4096)
def _digest_of(path: str) -> str:
    return hashlib.sha256(read_regular(path, LARGEST_BROUGHT)).hexdigest()


@contextmanager
def cluster_executor(cluster: str, keys: Path) -> Iterator[Executor]:
    """The scorers of a cluster as an executor for `what_if` and `blame_dataset`.

    Raises `InputError` if the cluster rejects this machine or runs another Earwitness; `EarwitnessError` if it cannot
    be reached, has no scorers, or a task repeatedly killed its worker.
    """
    use_our_settings()
    address, own = cluster_address(cluster), ClusterKeys.read(keys)
    with in_our_words(address):
        client = Client(address, security=own.security(), timeout=JOIN_S, set_as_default=False)
    with client:
        check_agreement(client.get_metadata(AGREEMENT, default=None), address)
        if not _scorers(client):
            remedy = "start `earwitness vantage` with one scorer or more"
            raise EarwitnessError("spreading work over", address, "it has no scorers", remedy)
        executor = CarryingExecutor(client)
        try:
            yield executor
        except tuple(_TROUBLES) as error:
            happened, remedy = next(words for kind, words in _TROUBLES.items() if isinstance(error, kind))
            remedy = f"{remedy}, and run it again: results are kept"
            raise EarwitnessError("working at", address, happened, remedy) from error
        finally:
            executor.shutdown(wait=False)


_NOBODY = f"no scorer has been available for {UNSCORED_S:g} s", "start `earwitness vantage`"
_GONE = "its scheduler was lost", "start `earwitness cluster schedule`"
_TROUBLES: dict[type[Exception], tuple[str, str]] = {
    KilledWorker: ("several processes died on the same task", "check the vantages' memory"),
    NoWorkerError: _NOBODY,
    NoValidWorkerError: _NOBODY,
    CancelledError: _GONE,
    CommClosedError: _GONE,
}
"""Dask's errors for failed work: their meaning, and the remedy."""


def _scorers(client: Client) -> int:
    workers = client.scheduler_info(n_workers=-1)["workers"]
    return sum(SCORING in known.get("resources", {}) for known in workers.values())
