"""Calls heard again from what was stored: through other jitter buffers, and with one cause after the other put back."""
