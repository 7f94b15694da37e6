"""Codecs behind a common protocol."""
