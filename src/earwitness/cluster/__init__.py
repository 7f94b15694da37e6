"""Studies over many machines with Dask: vantages at places, calls between them, and scoring spread over all."""
