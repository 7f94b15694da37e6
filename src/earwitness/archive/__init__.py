"""The data set on disk, and the published layout."""
