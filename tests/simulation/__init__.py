"""Whole sessions of the real trader against a seeded world of faults; `python -m tests.simulation.run` runs them."""
