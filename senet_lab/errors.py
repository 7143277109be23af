"""The exception that the command line reports as a single line, with exit code 2."""

from senet_lab.text import plain


class UsageError(Exception):
    """Bad input; the message is one harmless line with the error, its place and a remedy."""

    def __init__(self, message: str) -> None:
        super().__init__(plain(message))  # it may quote a record, and a terminal would obey that
