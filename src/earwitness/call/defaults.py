"""Defaults of a call, each with its reason."""

DEFAULT_BUFFER = "fixed:200"
"""Covers most of the delay variation of idle Tor paths; a sensible setting for a phone without adaptation."""

ANSWER_TIMEOUT_S = 20.0
"""An INVITE and its answer take two round trips, about 3 s on a slow circuit; phones answer automatically."""

STREAM_WATCH_S = 0.25
"""How often a running call checks that its path still works."""
