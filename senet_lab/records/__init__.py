"""Records at rest: plan, run directories, and where both stand. Imports neither torch nor pandas."""
