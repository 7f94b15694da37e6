"""The other machine of a call: an authenticated control channel, and what runs at its far end."""
