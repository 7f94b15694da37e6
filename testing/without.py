"""The command line where only some extras are installed: `python -P testing/without.py EXTRAS COMMAND...`.

The packages of all other extras cannot be imported, in this process.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import ModuleType

from earwitness.cli.main import main
from earwitness.extras import extras


class Absent:
    """Finds nothing of these modules, and lets no other finder look."""

    def __init__(self, modules: set[str]) -> None:
        self.modules = modules

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> None:
        """As the import system calls it."""
        if name.partition(".")[0] in self.modules:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


if __name__ == "__main__":
    there = {module for extra in sys.argv[1].split() for module in extras()[extra]}
    absent = {module for modules in extras().values() for module in modules} - there
    already = absent & {name.partition(".")[0] for name in sys.modules}
    if already:
        sys.exit(f"the command line alone has imported {', '.join(sorted(already))}")
    sys.meta_path.insert(0, Absent(absent))
    sys.argv = ["earwitness", *sys.argv[2:]]
    main()
