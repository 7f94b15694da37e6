"""The public functions of `import earwitness` that adapt lower floors to notebooks.

Paths are text or `Path`, a data set is an open one or its directory, results are dataclasses and tables, and nothing
is printed.
"""
