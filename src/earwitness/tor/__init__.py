"""Tor: control port and the embedded private network."""
