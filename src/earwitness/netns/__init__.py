"""Owned processes and network namespaces: everything that is started dies with its owner."""
