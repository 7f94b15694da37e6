"""Labs from a program that runs already, as a notebook's kernel does: threads, and an event loop that runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import earwitness as ew
from testing.commands import read_until
from testing.netns.leftovers import Token, machine_state
from testing.samples import STUDY

KERNEL = """
import asyncio, signal, threading, time
import earwitness as ew

def cell():
{cell}

async def kernel():
    asyncio.create_task(asyncio.sleep(3600))
    await asyncio.sleep(0)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # as ipykernel does around each cell
    cell()

threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
asyncio.run(kernel())
"""
LONG_CALL = "ew.place_calls(ew.CallPlan(path='direct', seconds=60.0), 'data', on_event=lambda e: print(e, flush=True))"


@pytest.fixture
def token(tmp_path: Path) -> Token:
    mark = Token()
    mark.environment["EARWITNESS_RUNTIME"] = str(tmp_path / "runtime")
    return mark


@contextmanager
def kernel(token: Token, folder: Path, *cell: str) -> Iterator[subprocess.Popen[str]]:
    """A process that runs these lines in a cell, in a process group of its own."""
    program = KERNEL.format(cell="\n".join(f"    {line}" for line in cell))
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env=token.environment,
        cwd=folder,
        text=True,
        process_group=0,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def nothing_is_left(token: Token, within_s: float = 20.0) -> bool:
    ends = time.monotonic() + within_s
    while token.processes():
        if time.monotonic() > ends:
            return False
        time.sleep(0.1)
    return True


@pytest.mark.lab
@pytest.mark.usefixtures("permitted")
@pytest.mark.timeout(240)
class TestInTheLab:
    def test_calls_are_placed_beside_a_running_loop(self, token: Token, tmp_path: Path) -> None:
        before = machine_state()
        cell = (
            "good = ew.CallPlan(path='direct', seconds=4.0)",
            "bad = ew.CallPlan(path='direct', seconds=4.0, inject=fault)",
            "placed = ew.place_calls([bad, good], 'data', on_event=lambda e: print(e, flush=True))",
            "assert isinstance(placed.dataset, ew.Dataset) and placed.errors == ()",
            "print(placed.rows[['outcome', 'direction']].to_csv(index=False), flush=True)",
            "assert placed.rows['mos_lqo'].notna().tolist() == [False, False, True, True]",
        )
        fault = "fault = __import__('earwitness.call.plan').call.plan.Injection.parse('callee-absent')"
        with kernel(token, tmp_path, fault, *cell) as process:
            said, errors = process.communicate(timeout=200)
        assert process.returncode == 0, errors
        assert errors == ""
        assert "the lab is up (100%)" in said
        assert "direct, g711u: talking, 4 s" in said
        assert said.endswith(
            "outcome,direction\nno_answer,to_callee\nno_answer,to_caller\ncompleted,to_callee\ncompleted,to_caller\n\n"
        )
        (failed, completed) = ew.open_dataset(tmp_path / "data")
        assert failed.record.command == completed.record.command == ("earwitness.place_calls",)
        assert nothing_is_left(token)
        assert machine_state() == before

    def test_an_interrupt_ends_it_in_order_and_keeps_what_was_measured(self, token: Token, tmp_path: Path) -> None:
        cell = ("try:", f"    {LONG_CALL}", "except KeyboardInterrupt as e:", "    print(e.__notes__, flush=True)")
        with kernel(token, tmp_path, *cell) as process:
            read_until(process.stdout, "talking")
            os.killpg(process.pid, signal.SIGINT)  # as a notebook's server and a terminal do
            said, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, "")
        assert said == "['the measurements are in data']\n"
        (call,) = ew.open_dataset(tmp_path / "data")
        assert call.record.outcome == "interrupted"
        assert call.has("caller.pcap") or call.has("caller.pcapng")
        assert nothing_is_left(token, 0.0)

    def test_a_kernel_that_dies_leaves_no_lab(self, token: Token, tmp_path: Path) -> None:
        with kernel(token, tmp_path, LONG_CALL) as process:
            read_until(process.stdout, "talking")
            process.kill()
            assert nothing_is_left(token)
        (call,) = ew.open_dataset(tmp_path / "data")
        assert call.record.outcome == "interrupted"

    def test_a_fault_of_the_listener_ends_it_in_order_too(self, token: Token, tmp_path: Path) -> None:
        cell = LONG_CALL.replace("print(e, flush=True)", "1 / ('talking' not in str(e))")
        with kernel(token, tmp_path, cell) as process:
            _, errors = process.communicate(timeout=120)
        assert "ZeroDivisionError" in errors
        assert nothing_is_left(token, 0.0)
        assert [call.record.outcome for call in ew.open_dataset(tmp_path / "data")] == ["interrupted"]

    def test_a_study_is_run_interrupted_and_resumed(self, token: Token, tmp_path: Path) -> None:
        (tmp_path / "study.toml").write_text(STUDY.replace("repeats = 1", "repeats = 2"))
        run = "run = ew.run_study('study.toml', 'data', on_event=lambda e: print(e, flush=True))"
        with kernel(
            token, tmp_path, "try:", f"    {run}", "except KeyboardInterrupt:", "    print('ended')"
        ) as process:
            read_until(process.stdout, "1 of 4: ")
            os.killpg(process.pid, signal.SIGINT)
            said, errors = process.communicate(timeout=90)
        assert (process.returncode, errors) == (0, "")
        assert said.endswith("ended\n")
        kept = [call.call_id for call in ew.open_dataset(tmp_path / "data")]
        assert 1 <= len(kept) < 4
        with kernel(token, tmp_path, run, "print(run.ending, len(run.rows))") as process:
            said, errors = process.communicate(timeout=150)
        assert (process.returncode, errors) == (0, "")
        rows = ew.open_dataset(tmp_path / "data").rows()
        assert said.endswith(f"\nfinished {len(rows)}\n")
        placed = rows.loc[rows["outcome"] == "completed", "call_id"].drop_duplicates()
        # On a busy machine a call may be placed again; one that was kept is not.
        assert placed.str.rpartition("-a")[0].nunique() == 4
        assert set(kept) <= set(placed)
        assert said.count("lab is up") == 1
        assert nothing_is_left(token)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"codec": "evs"}, "no codec has that name"),
        ({"from_place": "Nowhere-at-all"}, "Nowhere-at-all"),
        ({"phone": "manual"}, "use `earwitness call --phone manual` in a terminal"),
    ],
)
def test_what_cannot_be_called_is_said_before_anything_starts(
    change: dict[str, str], why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "Popen", None)
    with pytest.raises(ew.EarwitnessError, match=why):
        ew.place_calls([ew.CallPlan(), ew.CallPlan.from_dict(change)], tmp_path)
    with pytest.raises(ew.EarwitnessError, match="no plan is given"):
        ew.place_calls([], tmp_path)


def test_a_study_between_machines_is_not_run_in_the_lab(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(STUDY.replace('name = "sample"', 'name = "sample"\nnetwork = "public"'))
    with pytest.raises(ew.EarwitnessError, match="study run --cluster"):
        ew.run_study(tmp_path / "study.toml", tmp_path / "data")


def test_a_folder_with_other_things_is_told_as_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, permitted: None
) -> None:
    """It is found inside the lab's process, and raised here as what it was."""
    (tmp_path / "diary.txt").write_text("dear diary")
    monkeypatch.setenv("EARWITNESS_RUNTIME", str(tmp_path / "runtime"))
    with pytest.raises(ew.EarwitnessError, match="the directory holds other things") as caught:
        ew.place_calls(ew.CallPlan(path="direct"), tmp_path)
    assert caught.value.remedy == "give a new or empty directory"


def test_a_lab_process_that_cannot_even_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "asyncio").with_suffix(".py").write_text("raise ImportError('no loops here')")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'broken'}:{os.environ.get('PYTHONPATH', '')}")
    with pytest.raises(ew.EarwitnessError, match=r"it ended with status 1; its last message: .*no loops here; see"):
        ew.place_calls(ew.CallPlan(path="direct"), tmp_path / "data")
