"""Records at rest: plans, run directories and their state. Imports neither torch nor pandas."""
