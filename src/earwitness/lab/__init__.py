"""The lab: hosts in cities, the network between them, and a private Tor network on top."""
