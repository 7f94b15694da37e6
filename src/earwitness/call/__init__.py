"""One measured call, start to finish."""
