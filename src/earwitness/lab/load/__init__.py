"""Background traffic in the lab: what else its relays carry while a call is on the air."""
