"""Scores of what was heard: pure functions and values."""
