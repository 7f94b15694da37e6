"""The page that explains plug-ins quotes the example package word for word."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from testing.plugins.installed import EXAMPLE

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"


def test_every_snippet_is_of_the_example_package() -> None:
    sources = [path.read_text() for path in sorted(EXAMPLE.rglob("*.py"))]
    snippets = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(snippets) == 7
    for snippet in snippets:
        assert any(snippet in source for source in sources), snippet


def test_its_entry_points_are_those_of_the_example_package() -> None:
    shown, study = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    there = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]["entry-points"]
    assert tomllib.loads(shown)["project"]["entry-points"] == there
    assert tomllib.loads(study) == {"call": {"scorers": ["lsd"]}}
