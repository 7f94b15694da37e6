"""Many machines: vantages that bear places, calls between them, and work spread over all, by way of Dask."""
