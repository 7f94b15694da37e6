"""Packs a data set into one file for others: what is included, pseudonyms, verification."""
