"""The ear: jitter buffers, concealment and rendering; pure."""
