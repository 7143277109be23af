"""Work beside the main thread, for as long as a context lasts."""

import threading
from types import TracebackType
from typing import Self


class Background:
    """A context manager whose `work` runs in a thread of its own; leaving the context waits for its end."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        """Set when the context is left: then `work` should come to its end."""
        self._thread = threading.Thread(target=self.work, daemon=True)

    def work(self) -> None:
        """What the thread does."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended.set()
        self._thread.join()
