"""Small files to work on, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from testing.samples import write_samples


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what `testing.samples.write_samples` writes."""
    folder = tmp_path_factory.mktemp("samples")
    write_samples(folder)
    return folder
