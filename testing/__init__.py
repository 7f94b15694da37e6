"""What tests and benchmarks make, run and look with; there is no test in it, and it imports none."""
