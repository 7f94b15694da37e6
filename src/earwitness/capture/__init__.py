"""Live capture with kernel timestamps."""
