"""Tidy frames from records: grouping, curves, statistics, comparisons. Imports neither torch nor bokeh."""
