"""Execution of a plan: launchers, the epoch loop with its record, checkpoints."""
