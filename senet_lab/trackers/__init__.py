"""Mirrors of run directories into experiment trackers, one class per library."""
