"""Background traffic in the lab: what else its relays carry during a call."""
