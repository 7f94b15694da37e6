"""Run the benchmarks named on the command line (all without names); exit 1 if a bar does not hold."""

from __future__ import annotations

import importlib
import pkgutil
import sys

import bench
from bench.measure import Measurement


def main(names: list[str]) -> int:
    """Run every `bench_*` function of the chosen `bench_<area>` modules and print one line a figure."""
    modules = [m.name for m in pkgutil.iter_modules(bench.__path__) if m.name.startswith("bench_")]
    failed = 0
    for module_name in modules:
        module = importlib.import_module(f"bench.{module_name}")
        for function_name in sorted(n for n in dir(module) if n.startswith("bench_")):
            label = f"{module_name.removeprefix('bench_')}.{function_name.removeprefix('bench_')}"
            if names and not any(label.startswith(name) for name in names):
                continue
            measurements: list[Measurement] = getattr(module, function_name)()
            for m in measurements:
                sign = "<=" if m.at_most else ">="
                bar = "" if m.bar is None else f"  bar {sign} {m.bar:g} {m.unit}: {'held' if m.held else 'NOT HELD'}"
                print(f"{label:40s} {m.name:50s} {m.value:12.4g} {m.unit}{bar}  {m.note}".rstrip(), flush=True)
                failed += not m.held
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
