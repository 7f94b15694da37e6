"""Command line: parse arguments, call one function, print."""
