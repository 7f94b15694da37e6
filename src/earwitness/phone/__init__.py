"""Phones that place and answer calls."""
