"""Running a study: nothing lost, nothing twice, whatever happens; outcomes simulated, data set and journal real."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from earwitness.archive.dataset import Dataset
from earwitness.call.plan import CallPlan
from earwitness.errors import CallFailure, EarwitnessError, InputError, Outcome
from earwitness.events import Event
from earwitness.study.design import design
from earwitness.study.ending import Why
from earwitness.study.events import CallEvent, CallFinished, CallOffAir, CallPlaced
from earwitness.study.file import StudyFile, parse_study
from earwitness.study.folder import owned_study
from earwitness.study.journal import Journal
from earwitness.study.lock import running_since
from earwitness.study.model import Retry
from earwitness.study.retry import Ended, FailureKind, decide, failure_kind
from testing.commands import REPOSITORY
from testing.study.files import BOTH_CODECS, TOR3, study_file
from testing.study.simulated import RefusingSlot, SimulatedSlot, completes, run_simulated

STUDY = study_file("sim", "[retry]\nbackoff_s = 0.01\n[design]\nrepeats = 5\n", paths=[TOR3], codecs=BOTH_CODECS)
PLANNED = {call.call_id(1) for call in design(parse_study(STUDY))}


def completed(directory: Path) -> list[str]:
    rows = Dataset.open(directory).rows()
    return sorted(set(rows[rows["outcome"] == "completed"]["call_id"]))


def journal(directory: Path) -> Journal:
    return Journal.open(directory / "study" / "journal.sqlite", read_only=True)


def test_an_undisturbed_run_places_every_planned_call_once(tmp_path: Path) -> None:
    post = SimulatedSlot()
    ending = run_simulated(STUDY, tmp_path, [post])
    assert (ending.why, ending.completed) == (Why.FINISHED, 20)
    assert set(completed(tmp_path)) == PLANNED
    assert [plan.study and plan.study.block for plan in post.placed] == [
        call.block for call in design(parse_study(STUDY))
    ], "in planned order"
    again = SimulatedSlot()
    assert run_simulated(STUDY, tmp_path, [again]).completed == 0
    assert again.placed == []


def test_blocks_stay_together_over_several_pairs(tmp_path: Path) -> None:
    posts = [SimulatedSlot(f"pair {i}", 0.01) for i in range(3)]
    assert run_simulated(STUDY.replace("[design]", "[run]\nat_once = 3\n[design]"), tmp_path, posts).completed == 20
    assert all(post.most_at_once == 1 for post in posts)
    for post in posts:
        blocks = [plan.study.block for plan in post.placed if plan.study]
        assert len(blocks) >= 4
        assert all(first == second for first, second in zip(blocks[::2], blocks[1::2], strict=True))


def test_killed_at_random_moments(tmp_path: Path) -> None:
    study = tmp_path / "study.toml"
    study.write_text(STUDY)
    done = subprocess.run(
        [sys.executable, "-m", "testing.study.killed", str(study), str(tmp_path / "out"), "15", "7"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=REPOSITORY,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["struck"] >= 5, "the kills came too late to test anything"
    calls = Dataset.open(tmp_path / "out").rows()
    assert set(calls["call_id"]) == PLANNED
    assert len(calls) == 40
    with journal(tmp_path / "out") as book:
        assert Counter(state.state for state in book.states()) == {"done": 20}
        per_call = book.rows("SELECT position, count(*) FROM attempts WHERE state = 'ended' GROUP BY position")
        assert [count for _, count in per_call] == [1] * 20
    assert list((tmp_path / "out" / ".staging").iterdir()) == []


def test_a_copy_made_at_any_moment_opens_and_resumes(tmp_path: Path) -> None:
    study = tmp_path / "study.toml"
    study.write_text(STUDY)
    running = subprocess.Popen(
        [sys.executable, "-m", "testing.study.simulated", str(study), str(tmp_path / "out"), "2", "0.05"],
        cwd=REPOSITORY,
    )
    copies: list[Path] = []
    while running.poll() is None:
        if (tmp_path / "out" / "study" / "journal.sqlite").exists():
            copy = tmp_path / f"copy{len(copies)}"
            with contextlib.suppress(shutil.Error):  # files that went while it was copied, as staging folders do
                shutil.copytree(tmp_path / "out", copy)
            copies.append(copy)
        time.sleep(0.06)
    assert running.returncode == 0
    assert len(copies) >= 3
    for copy in copies[:: max(1, len(copies) // 4)]:
        run_simulated(STUDY, copy, [SimulatedSlot()])
        assert set(completed(copy)) == PLANNED


@pytest.mark.parametrize("damage", [b"", b"SQLite format 3\0" + bytes(400), None])
def test_a_damaged_journal_is_made_again_from_the_data_set(tmp_path: Path, damage: bytes | None) -> None:
    run_simulated(
        STUDY,
        tmp_path,
        [SimulatedSlot()],
        stop=lambda event: "now" if isinstance(event, CallEvent) and event.call.position == 9 else None,
    )
    path = tmp_path / "study" / "journal.sqlite"
    content = path.read_bytes()
    path.write_bytes(content[:2000] + bytes(len(content) - 2000) if damage is None else damage)
    post = SimulatedSlot()
    run_simulated(STUDY, tmp_path, [post])
    assert len(completed(tmp_path)) == 20
    assert len(post.placed) == 12, "what was done is not done again"


def test_a_removed_call_is_placed_again_and_a_damaged_one_moved_away(tmp_path: Path) -> None:
    run_simulated(STUDY, tmp_path, [SimulatedSlot()])
    first, second = sorted(PLANNED)[:2]
    shutil.rmtree(tmp_path / "calls" / first)
    (tmp_path / "calls" / second / "record.json").write_text("{")
    with journal(tmp_path) as book:
        book.rows("SELECT 1")
    # The journal believes in the damaged one until it is asked to look: a missing record is found by its absence.
    with sqlite3.connect(tmp_path / "study" / "journal.sqlite") as database:
        database.execute("DELETE FROM attempts WHERE call_id = ?", (second,))
        database.execute("UPDATE calls SET state = 'planned', attempts = 0 WHERE call_id = ?", (second,))
    database.close()
    post = SimulatedSlot()
    run_simulated(STUDY, tmp_path, [post])
    assert len(post.placed) == 2
    assert set(completed(tmp_path)) == PLANNED
    assert [path.name[: len(second)] for path in (tmp_path / "study" / "damaged").iterdir()] == [second]


def test_a_second_run_is_refused_in_one_line(tmp_path: Path) -> None:
    with owned_study(tmp_path, StudyFile.parse(STUDY)):
        assert running_since(tmp_path) is not None
        with pytest.raises(EarwitnessError) as refused, owned_study(tmp_path, StudyFile.parse(STUDY)):
            pass
    assert "another run is at work" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert running_since(tmp_path) is None
    with owned_study(tmp_path, StudyFile.parse(STUDY)):
        pass


def test_looking_at_the_lock_does_not_keep_a_run_from_starting(tmp_path: Path) -> None:
    with owned_study(tmp_path, StudyFile.parse(STUDY)):
        pass
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            running_since(tmp_path)
            time.sleep(0.001)

    looker = threading.Thread(target=look)
    looker.start()
    try:
        for _ in range(10):
            with owned_study(tmp_path, StudyFile.parse(STUDY)):
                pass
    finally:
        stop.set()
        looker.join()


def test_another_program_that_holds_the_journal_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("earwitness.study.journal._BUSY_TIMEOUT_S", 0.05)
    run_simulated(STUDY, tmp_path, [SimulatedSlot()], stop=lambda _: "gently")
    other = sqlite3.connect(tmp_path / "study" / "journal.sqlite", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(EarwitnessError, match="another program has locked it"):
        run_simulated(STUDY, tmp_path, [SimulatedSlot()])
    other.close()
    assert run_simulated(STUDY, tmp_path, [SimulatedSlot()]).why is Why.FINISHED


def test_the_design_is_frozen_once_calls_have_run(tmp_path: Path) -> None:
    changed = STUDY.replace("repeats = 5", "repeats = 6")
    ruled = changed + '[stop]\nrule = "hours"\nhours = 1'
    with owned_study(tmp_path, StudyFile.parse(STUDY)):
        pass
    with owned_study(tmp_path, StudyFile.parse(changed)) as folder:
        assert len(folder.calls) == 24, "nothing had run yet"
    run_simulated(changed, tmp_path, [SimulatedSlot()], stop=lambda _: "gently")
    for other, setting in ((STUDY, r"design\.repeats: 6 -> 5"), (ruled, r"stop\.hours")):
        with pytest.raises(InputError, match=setting) as refused, owned_study(tmp_path, StudyFile.parse(other)):
            pass
        assert "another name" in str(refused.value)
    with (
        pytest.raises(InputError, match="holds the study 'sim'"),
        owned_study(tmp_path, StudyFile.parse(STUDY.replace('"sim"', '"b"'))),
    ):
        pass
    (tmp_path / "study" / "journal.sqlite").unlink()
    with pytest.raises(InputError, match=r"design\.repeats"), owned_study(tmp_path, StudyFile.parse(STUDY)):
        pass
    with owned_study(tmp_path, StudyFile.parse(changed + "[power]\nsd = 1.0")):
        pass


def test_stopping_gently_finishes_the_call_and_stopping_now_stores_it_as_interrupted(tmp_path: Path) -> None:
    gently = SimulatedSlot(seconds=0.05)
    ending = run_simulated(
        STUDY,
        tmp_path / "a",
        [gently],
        stop=lambda event: "gently" if isinstance(event, CallPlaced) and event.call.position == 3 else None,
    )
    assert (ending.why, ending.completed, len(gently.placed)) == (Why.STOPPED, 3, 3)
    now = SimulatedSlot(seconds=5.0)
    begun = time.monotonic()
    ending = run_simulated(
        STUDY, tmp_path / "b", [now], stop=lambda event: "now" if isinstance(event, CallPlaced) else None
    )
    assert time.monotonic() - begun < 3.0
    assert ending.why is Why.STOPPED
    rows = Dataset.open(tmp_path / "b").rows()
    assert list(rows["outcome"]) == ["interrupted"] * 2
    with journal(tmp_path / "b") as book:
        assert Counter(state.state for state in book.states()) == {"planned": 20}
    run_simulated(STUDY, tmp_path / "b", [SimulatedSlot()])
    assert len(completed(tmp_path / "b")) == 20


def test_failures_are_kept_and_tried_again_as_their_kind_permits(tmp_path: Path) -> None:
    def fate(plan: CallPlan) -> tuple[Outcome, bool | None]:
        assert plan.study is not None
        if plan.path == "tor" and plan.codec == "g711u":
            return Outcome.CIRCUIT_FAILED, None
        if plan.path == "tor" and plan.study.attempt == 1:
            return Outcome.PORT_TAKEN, None
        if plan.codec == "g711u":
            return Outcome.COMPLETED, False
        return Outcome.COMPLETED, True

    ending = run_simulated(STUDY, tmp_path, [SimulatedSlot(fate=fate)])
    assert (ending.why, ending.attempts) == (Why.FINISHED, 10 + 10 + 10 + 5)
    with journal(tmp_path) as book:
        found = book.rows("SELECT state, outcome, instrument_ok, attempts, count(*) FROM calls GROUP BY 1, 2, 3, 4")
    assert sorted(found) == [
        ("done", "completed", 0, 2, 5),  # marked: the instrument was not good enough twice
        ("done", "completed", 1, 1, 5),
        ("done", "completed", 1, 2, 5),
        ("failed", "circuit_failed", None, 2, 5),
    ]
    assert len(Dataset.open(tmp_path).rows()) == 70, "every attempt is in the data"


@pytest.mark.parametrize(
    ("past", "state", "wait_s"),
    [
        ([], "planned", 0.0),
        ([("completed", True)], "done", 0.0),
        ([("completed", None)], "done", 0.0),
        ([("completed", False)], "planned", 5.0),
        ([("completed", False), ("completed", False)], "done", 0.0),
        ([("completed", False), ("circuit_failed", None), ("no_media", None)], "done", 0.0),
        ([("circuit_failed", None)], "planned", 5.0),
        ([("circuit_failed", None), ("port_taken", None)], "planned", 5.0),
        ([("port_taken", None), ("failed", None)], "planned", 15.0),
        ([("port_taken", None), ("failed", None), ("capture_empty", None)], "failed", 0.0),
        ([("circuit_failed", None), ("no_answer", None)], "failed", 0.0),
        ([("speech_unusable", None)], "failed", 0.0),
        ([("interrupted", None)] * 9, "planned", 0.0),
        ([("lab_failed", None)] * 9, "planned", 0.0),
    ],
)
def test_what_follows_from_the_past(past: list[tuple[str, bool | None]], state: str, wait_s: float) -> None:
    follows = decide([Ended(Outcome(outcome), ok) for outcome, ok in past], Retry())
    assert (follows.state, follows.wait_s) == (state, wait_s)


def test_an_outcome_is_the_networks_unless_it_is_known_not_to_be() -> None:
    assert {
        failure_kind(outcome) for outcome in (Outcome.ONE_WAY_MEDIA, Outcome.PATH_LOST, Outcome.SCORER_REFUSED)
    } == {FailureKind.NETWORK}
    assert all(decide([Ended(outcome)] * 9, Retry()).state in ("done", "failed", "planned") for outcome in Outcome)


def test_a_full_disk_and_a_broken_network_stop_the_study_and_it_resumes(tmp_path: Path) -> None:
    full = CallFailure(Outcome.STORAGE_FAILED, "storing", on="x", happened="No space left", remedy="free some")
    ending = run_simulated(STUDY, tmp_path, [RefusingSlot(full)])
    assert (ending.why, ending.completed) == (Why.TROUBLE, 0)
    assert "No space left" in ending.detail
    broken = SimulatedSlot(fate=lambda _: (Outcome.CIRCUIT_FAILED, None))
    broken.broken = "relay2: its tor has ended"
    ending = run_simulated(STUDY, tmp_path, [broken])
    assert (ending.why, ending.detail) == (Why.NETWORK, "relay2: its tor has ended")
    assert len(broken.placed) <= 2, "one more may have been on the air while the first was scored"
    assert run_simulated(STUDY, tmp_path, [SimulatedSlot()]).completed == 20
    refusing = RefusingSlot()
    assert run_simulated(STUDY, tmp_path / "b", [refusing]).why is Why.TROUBLE
    assert len(refusing.placed) == 3, "not for ever"


@pytest.mark.parametrize("stage", [CallPlaced, CallOffAir, CallFinished])
@pytest.mark.parametrize("linked", [False, True])
def test_a_folder_that_is_removed_ends_the_study_and_nothing_is_put_where_it_was(
    tmp_path: Path, stage: type[Event], linked: bool
) -> None:
    root, other = tmp_path / "data", tmp_path / "other"
    other.mkdir()

    def remove(event: Event) -> None:
        if isinstance(event, stage) and not root.is_symlink() and root.is_dir():
            shutil.rmtree(root)
            if linked:
                root.symlink_to(other)

    ending = run_simulated(STUDY, root, [SimulatedSlot(seconds=0.01)], stop=remove)
    assert ending.why is Why.TROUBLE
    assert "the folder was removed or replaced meanwhile" in ending.detail
    assert ending.completed == (stage is CallFinished)
    assert list(other.iterdir()) == []
    assert root.is_symlink() is linked
    assert root.exists() is linked


def test_a_fault_of_ours_is_raised_and_the_journal_is_right_after(tmp_path: Path) -> None:
    class Faulty(SimulatedSlot):
        async def trouble(self) -> str | None:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_simulated(STUDY, tmp_path, [Faulty(fate=lambda _: (Outcome.NO_MEDIA, None))])
    assert run_simulated(STUDY, tmp_path, [SimulatedSlot()]).why is Why.FINISHED
    assert len(completed(tmp_path)) == 20


def test_the_budget_counts_calls_over_tor_and_stops_the_study(tmp_path: Path) -> None:
    text = STUDY + "[budget]\ntor_mib = 2.0"
    ending = run_simulated(text, tmp_path, [SimulatedSlot()])
    assert ending.why is Why.BUDGET
    rows = Dataset.open(tmp_path).rows()
    assert rows[rows["path"] == "tor"]["call_id"].nunique() == 4  # 0.47 MiB each
    again = SimulatedSlot()
    assert run_simulated(text, tmp_path, [again]).why is Why.BUDGET
    assert again.placed == [], "the next call in order is over Tor"


def test_the_rule_by_width_stops_after_whole_repeats(tmp_path: Path) -> None:
    text = STUDY.replace("repeats = 5", "repeats = 40") + '[stop]\nrule = "half_width"\nhalf_width = 0.08\n'
    ending = run_simulated(text, tmp_path, [SimulatedSlot(fate=completes)])
    assert ending.why is Why.ENOUGH
    assert "known to ±0.0" in ending.detail
    with journal(tmp_path) as book:
        states = Counter(state.state for state in book.states())
    assert 12 <= states["done"] < 160
    assert states["done"] % 4 <= 1, "one more may have been on the air while the last was scored"
