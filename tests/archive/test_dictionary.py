from __future__ import annotations

from pathlib import Path

from earwitness.archive.dictionary import dictionary
from earwitness.archive.schema import columns


def test_the_document_is_current() -> None:
    document = Path(__file__).parents[2] / "docs" / "data-dictionary.md"
    assert document.read_text(encoding="utf-8") == dictionary(), "run `make docs`"


def test_every_column_is_there_with_a_unit_where_its_name_has_one() -> None:
    text = dictionary()
    for column in columns():
        assert f"| `{column.name}` |" in text
        if column.name.endswith("_ms"):
            assert column.metadata["unit"] == "ms", column.name
        if column.name.endswith("_ratio"):
            assert column.metadata["unit"] == "ratio 0..1", column.name
