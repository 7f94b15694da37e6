"""Scores of what was heard; pure."""
