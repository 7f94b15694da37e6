"""Defaults of a call, each with its reason."""

DEFAULT_BUFFER = "fixed:200"
"""Long enough for most of the delay variation of idle Tor paths; what a phone without adaptation would be set to."""

ANSWER_TIMEOUT_S = 20.0
"""An INVITE and its answer take two round trips, on a slow circuit about 3 s; nobody has to walk to the phone."""

STREAM_WATCH_S = 0.25
"""How often a running call asks its path whether it still stands."""
