"""The plan of a sweep, the record of a run, and who executes it."""
