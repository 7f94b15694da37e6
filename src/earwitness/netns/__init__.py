"""Owned processes and network namespaces: everything started here dies with its owner."""
