"""Re-hears stored calls: through other jitter buffers, or with one cause of degradation after another restored."""
