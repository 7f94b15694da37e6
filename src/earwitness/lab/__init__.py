"""The lab: owned namespaces and the wide-area emulator."""
