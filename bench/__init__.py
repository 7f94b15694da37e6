"""Benchmarks: the project's timing and quality bars, measured. `python -m bench [name ...]` runs them."""
