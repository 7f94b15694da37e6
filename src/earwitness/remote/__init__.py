"""The remote machine of a call: an authenticated control channel, and the processes at its far end."""
