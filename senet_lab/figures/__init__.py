"""From run directories to curves, charts and files."""
