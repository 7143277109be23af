"""The exception that the command line reports as a single line, with exit code 2."""


class UsageError(Exception):
    """Bad input; the message is one line with the error, its place and a remedy."""
