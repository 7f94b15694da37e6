"""What `import earwitness` offers, where it is more than a function of a lower floor: arguments as a notebook has them.

Paths are text or `Path`, a data set is an open one or its directory, results are dataclasses and tables, and nothing
is printed.
"""
