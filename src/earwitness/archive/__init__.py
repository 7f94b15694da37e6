"""The data set on disk: records, rows, index."""
