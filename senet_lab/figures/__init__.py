"""Charts, pages and files from the frames of a sweep."""
