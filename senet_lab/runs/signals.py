"""Ctrl-C and SIGTERM as a question that loops ask between steps."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """Called between steps: whether the work should end."""

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self._asked = False
        self._at_once = False

    def __call__(self) -> bool:
        """True once a signal came, or `ask` was called."""
        return self._asked

    def ask(self) -> None:
        """End the work as a signal would, without one."""
        self._asked = True

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Inside, a signal waits for nothing: for imports, which take seconds and know no steps."""
        self._at_once = True
        try:
            yield
        except KeyboardInterrupt:
            self._asked = True
        finally:
            self._at_once = False

    def receive(self, number: int, _frame: FrameType | None) -> None:
        """The handler: the first signal asks, the second one ends the process."""
        self.signal_number = number
        self._asked = True
        signal.signal(number, signal.SIG_DFL)
        if self._at_once:
            raise KeyboardInterrupt


@contextmanager
def raise_on_sigterm() -> Iterator[None]:
    """SIGTERM leaves the body as Ctrl-C does: by KeyboardInterrupt, which carries the signal's number."""

    def leave(number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt(number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def stop_on_signal() -> Iterator[Stop]:
    """Ctrl-C and SIGTERM ask the work to end after the current step; the second one ends it at once."""
    stop = Stop()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, stop.receive) for number in numbers]
    try:
        yield stop
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
