"""Many calls: plan, journal, run, resume, analyse."""
