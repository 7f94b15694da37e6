"""Tests of the package: its wheel, its licences, its lock files."""
