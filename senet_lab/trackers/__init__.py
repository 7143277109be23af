"""Runs in the trackers that people already use: a mirror of the run directories, and a class a library."""
