"""SIGTERM and SIGHUP end a command as Ctrl-C does: one line, what was measured is kept, nothing is left behind."""

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

from earwitness.archive.dataset import Dataset
from testing.commands import EARWITNESS, read_until
from testing.netns.leftovers import Token
from testing.report.synthetic import Made, add_call
from testing.study.files import study_file
from testing.study.simulated import SimulatedSlot, run_simulated

STUDY = study_file("signals", "[design]\nrepeats = {repeats}\n[call]\nseconds = 60.0\n")
ENDINGS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@contextmanager
def running(token: Token, *arguments: object, before: tuple[str, ...] = ()) -> Iterator[subprocess.Popen[str]]:
    argv = [*before, *EARWITNESS, *map(str, arguments)]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        argv, env=token.environment, text=True, start_new_session=True, stdout=pipe, stderr=pipe
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def rest(process: subprocess.Popen[str], within_s: float = 60.0) -> str:
    _, messages = process.communicate(timeout=within_s)
    assert "Traceback" not in messages
    assert "Error" not in messages
    return messages


@pytest.mark.lab
@pytest.mark.usefixtures("permitted")
@pytest.mark.timeout(180)
class TestACallOnTheAir:
    @pytest.mark.parametrize("number", ENDINGS)
    def test_it_is_stored_as_interrupted(self, token: Token, tmp_path: Path, number: signal.Signals) -> None:
        out = tmp_path / "data"
        options = ("call", "--path", "direct", "--codec", "g711u", "--seconds", 60, "--out", out)
        with running(token, *options) as call:
            read_until(call.stderr, "talking")
            call.send_signal(number)
            messages = rest(call)
        assert call.returncode == 128 + number
        assert messages.count("interrupted; what was measured is kept") == 1
        (stored,) = Dataset.open(out).calls()
        assert stored.record.outcome == "interrupted"
        assert list((out / ".staging").iterdir()) == []
        assert not token.processes()

    def test_a_signal_to_the_whole_group_is_one_word(self, token: Token, tmp_path: Path) -> None:
        """As timeout(1) and service managers send it: to every process, and the outer command passes it on too."""
        out = tmp_path / "data"
        options = ("call", "--path", "direct", "--codec", "g711u", "--seconds", 60, "--out", out)
        with running(token, *options) as call:
            read_until(call.stderr, "talking")
            os.killpg(call.pid, signal.SIGTERM)
            rest(call)
        assert call.returncode == 128 + signal.SIGTERM
        (stored,) = Dataset.open(out).calls()
        assert stored.record.outcome == "interrupted"
        assert not token.processes()

    def test_an_ignored_signal_stays_ignored(self, token: Token, tmp_path: Path) -> None:
        options = ("call", "--path", "direct", "--codec", "g711u", "--seconds", 4, "--out", tmp_path / "data")
        with running(token, *options, before=("nohup",)) as call:
            read_until(call.stderr, "talking")
            call.send_signal(signal.SIGHUP)
            rest(call)
        assert call.returncode == 0

    @pytest.mark.parametrize("number", ENDINGS[1:])
    def test_a_study_ends_after_the_call_and_the_second_word_is_now(
        self, token: Token, tmp_path: Path, number: signal.Signals
    ) -> None:
        file, out = tmp_path / "study.toml", tmp_path / "data"
        file.write_text(STUDY.format(repeats=2))
        with running(token, "study", "run", file, "--out", out) as study:
            read_until(study.stderr, "the lab is up")
            time.sleep(4)
            study.send_signal(number)
            read_until(study.stderr, "again to stop at once")
            time.sleep(1.2)
            study.send_signal(number)
            messages = rest(study)
        assert study.returncode == 128 + number, messages
        assert "the same command resumes it" in messages
        assert [call.record.outcome for call in Dataset.open(out).calls()] == ["interrupted"]
        assert not token.processes()


@pytest.mark.parametrize("number", ENDINGS)
def test_an_answer_without_a_call_ends_in_order(token: Token, tmp_path: Path, number: signal.Signals) -> None:
    invitation = tmp_path / "invitation.json"
    options = ("answer", "--listen", "127.0.0.1:0", "--invitation", invitation, "--store", tmp_path / "store")
    with running(token, *options) as answer:
        read_until(answer.stderr, "answering at")
        answer.send_signal(number)
        messages = rest(answer)
    assert (answer.returncode, messages) == (0, "answer: ended; what was measured is kept\n")
    assert not invitation.exists()


TOLD_WHILE_IT_READS_ITS_COMMAND_LINE = """
import os, typer.core
from earwitness.cli.main import main
read = typer.core.TyperGroup.make_context
def told(self, *arguments, **options):
    os.kill(os.getpid(), {number})
    return read(self, *arguments, **options)
typer.core.TyperGroup.make_context = told
main()
"""


@pytest.mark.parametrize("number", ENDINGS)
def test_a_command_told_at_its_very_start_says_so_too(number: signal.Signals) -> None:
    program = TOLD_WHILE_IT_READS_ITS_COMMAND_LINE.format(number=int(number))
    done = subprocess.run([sys.executable, "-c", program, "doctor"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 128 + number
    assert done.stderr == "earwitness: interrupted; what was measured is kept\n"


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("command", "number"), [("whatif", signal.SIGTERM), ("blame", signal.SIGHUP)])
def test_work_on_a_data_set_ends_with_its_processes(
    token: Token, tmp_path: Path, command: str, number: signal.Signals
) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    with Dataset.open_or_create(data, durable=False) as store:
        for seed in range(4):
            add_call(store, Made(f"call-{seed}", seconds=8.0, seed=seed))
    with running(token, command, data, "--workers", 2, "--out", out) as work:
        until_there(out / "journal.jsonl")
        work.send_signal(number)
        assert rest(work) == "earwitness: interrupted; what was measured is kept\n"
    assert work.returncode == 128 + number
    assert not token.processes()
    assert [path.name for path in out.iterdir()] == ["journal.jsonl"]


def until_there(path: Path, within_s: float = 60.0) -> None:
    ends = time.monotonic() + within_s
    while not path.exists():
        assert time.monotonic() < ends, f"{path} never came"
        time.sleep(0.05)


def test_a_reader_that_goes_early_is_no_fault(tmp_path: Path) -> None:
    demo = tmp_path / "data"
    run_simulated(STUDY.format(repeats=1), demo, [SimulatedSlot()])
    command = " ".join(f"'{part}'" for part in EARWITNESS)
    for options in ("", "--json"):
        script = f"{command} query {demo} 'select * from range(20000)' {options} 2>{tmp_path}/errors | head -c 10"
        done = subprocess.run(["sh", "-c", script], check=True, capture_output=True, timeout=60)
        assert len(done.stdout) == 10
        assert (tmp_path / "errors").read_text() == ""
