"""Reference speech and codecs."""
