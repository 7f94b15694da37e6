"""The public names: complete, documented, typed, and loaded only when they are asked for."""

from __future__ import annotations

import ast
import inspect
import json
import pickle
import re
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import earwitness as ew

TOP = Path(__file__).parents[2]
NAMES = sorted(ew.__all__)
MOST_NAMES = 26
MOST_IMPORT_MS = 20.0


def in_a_fresh_process(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("name", NAMES)
def test_each_name_is_there_and_documented(name: str) -> None:
    found = getattr(ew, name)
    assert found.__name__ == name
    assert found.__module__ == "earwitness"
    assert len(inspect.getdoc(found) or "") > 40
    assert pickle.loads(pickle.dumps(found)) is found
    assert re.search(rf"`ew\.{name}`", (TOP / "docs" / "python.md").read_text()), "it is not in the table of names"


def test_that_is_all_there_is() -> None:
    assert dir(ew) == NAMES
    assert len(NAMES) == len(set(NAMES)) <= MOST_NAMES
    with pytest.raises(AttributeError, match="'earwitness' has no attribute 'anything_else'"):
        _ = ew.anything_else
    assert set(re.findall(r"`ew\.(\w+)", (TOP / "docs" / "python.md").read_text())) - {"something"} == set(NAMES)


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(ew.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.asname: f"{node.module}.{alias.name}"
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if node.module != "typing"
    }
    loaded = {name: f"{module}.{name}" for name, module in ew._MODULE_OF.items()}
    assert seen == loaded | {"__version__": "earwitness.version.__version__"}
    assert sorted(loaded) == NAMES


def test_importing_loads_nothing() -> None:
    program = """
import sys, time
before, begun = set(sys.modules), time.process_time()
import earwitness
took_ms = (time.process_time() - begun) * 1e3
import json
print(json.dumps([took_ms, sorted(set(sys.modules) - before)]))
"""
    took = []
    for _ in range(3):
        took_ms, loaded = json.loads(in_a_fresh_process(program))
        assert not [name for name in loaded if name.startswith("earwitness.") or name in ("numpy", "pandas", "typing")]
        took.append(took_ms)
    assert min(took) < MOST_IMPORT_MS


def test_a_name_loads_what_it_needs_alone() -> None:
    program = "import sys, earwitness as ew; ew.{}; print(*sys.modules)"
    assert "numpy" not in in_a_fresh_process(program.format("EarwitnessError")).split()
    heavy = {"matplotlib", "duckdb", "distributed", "pandas", "scipy.stats"}
    assert not heavy & set(in_a_fresh_process(program.format("read_capture")).split())


def test_rooms_that_are_called_like_functions_do_not_hide_them() -> None:
    program = "import earwitness.score.pesq, earwitness.speech.wav, earwitness as ew; print(ew.score, ew.speech)"
    assert in_a_fresh_process(program).count("<function ") == 2


def test_the_hints_of_a_public_class_can_still_be_resolved() -> None:
    assert typing.get_type_hints(ew.CallPlan)["hops"] is int
    assert "sent_ns" in typing.get_type_hints(ew.Trace)


def test_a_public_error_is_called_by_its_public_name() -> None:
    program = "import earwitness as ew; ew.EarwitnessError; ew.open_dataset('/nowhere')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "there is none; give the directory of one" in done.stderr
    with pytest.raises(ew.EarwitnessError):
        ew.open_dataset("/nowhere")
