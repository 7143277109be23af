"""Background threads bound to a context."""

import threading
from types import TracebackType
from typing import Self


class Background:
    """A context manager that runs `work` in a thread; leaving the context waits for its end.

    An OSError that ends `work`, as of an output that cannot be written, is raised on leaving.
    """

    def __init__(self) -> None:
        self.ended = threading.Event()
        """Set when the context is left: `work` should then return."""
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._error: OSError | None = None

    def work(self) -> None:
        """The thread's body."""
        raise NotImplementedError

    def _work(self) -> None:
        try:
            self.work()
        except OSError as error:
            self._error = error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended.set()
        self._thread.join()
        if self._error is not None and error is None:
            raise self._error
