"""The one exception that the command line turns into a single line and exit code 2."""


class UsageError(Exception):
    """Bad input: the message is one line that says what is wrong, where, and what would be right."""
