"""A data set as one file for others: what goes into it, under which names, and how it is verified."""
