"""With the core alone, as `pip install earwitness` gives it: what needs an extra names it in one line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import earwitness as ew

HIDDEN = """
import json, sys
from earwitness.extras import extras

class Nothing:
    hidden = {module for modules in extras().values() for module in modules}
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.hidden:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

assert {"pandas", "pyarrow", "duckdb", "matplotlib", "aiosipua"} <= Nothing.hidden
sys.meta_path.insert(0, Nothing())
import earwitness as ew
"""
NEEDS = {
    "blame_dataset": "data",
    "compare": "data",
    "Dataset": "data",
    "import_folder": "data",
    "open_dataset": "data",
    "place_calls": "lab",
    "plan_study": "lab",
    "query": "query",
    "read_study": "lab",
    "reproduce": "report",
    "run_study": "lab",
    "time_capture": "data",
    "what_if": "data",
    "write_report": "report",
}
CORE = {"CallPlan", "EarwitnessError", "Trace", "blame", "codec", "e_model", "hear", "read_capture", "score", "speech",
        "timing"}  # fmt: skip


def with_the_core_alone(program: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", HIDDEN + program], capture_output=True, text=True, cwd=folder, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_name_is_of_the_core_or_needs_an_extra() -> None:
    assert sorted([*NEEDS, *CORE]) == sorted(ew.__all__)


def test_the_core_works(samples: Path) -> None:
    said = with_the_core_alone(
        "capture = ew.read_capture('call.pcap')\n"
        "heard = ew.hear(capture, buffer='fixed:60')\n"
        "blamed = ew.blame(capture, 'allison-10s', buffer='fixed:60')\n"
        "plan = ew.CallPlan(codec=ew.codec('opus').spec)\n"
        "rating = ew.e_model('g711u', loss_ratio=0.0, mouth_to_ear_ms=100.0).mos_cqe\n"
        "print(ew.timing(capture.streams[0]).packets_received, ew.score(ew.speech('allison-10s'), heard).mos_lqo)\n"
        "try:\n    heard.ledger\nexcept ew.EarwitnessError as error:\n    print(error)\n",
        samples,
    )
    scored, ledger = said.splitlines()
    assert 1.0 < float(scored.split()[1]) < 4.5
    assert ledger.endswith("; pip install 'earwitness[data]'")


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    two = ("import_folder", "place_calls", "query", "reproduce", "run_study")
    program = f"""
said = {{}}
for name in {sorted(NEEDS)}:
    try:
        getattr(ew, name)(*["x"] * (2 if name in {two} else 1))
    except ew.EarwitnessError as error:
        said[name] = str(error)
print(json.dumps(said))
"""
    found: dict[str, str] = json.loads(with_the_core_alone(program, tmp_path_factory.mktemp("empty")))
    return found


@pytest.mark.parametrize("name", sorted(NEEDS))
def test_what_needs_an_extra_names_it(name: str, lines: dict[str, str]) -> None:
    line = lines[name]
    assert line.startswith(f"using earwitness.{name}: needs the extra {NEEDS[name]}, ")
    assert line.endswith(f"; pip install 'earwitness[{NEEDS[name]}]'")
    assert "\n" not in line
