"""Many calls: plan, journal, run, resume, watch."""
