"""Records at rest: the plan of a sweep, the run directories, and where both stand. Imports neither torch nor pandas."""
