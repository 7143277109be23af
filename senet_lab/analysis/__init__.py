"""Records to tidy frames: grouping, curves, statistics, baselines. Imports neither torch nor bokeh."""
