"""Codecs behind one protocol."""
