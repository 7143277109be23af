"""Ctrl-C and SIGTERM as a flag that training loops check between steps."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """A stop flag, called between steps."""

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self._asked = False
        self._at_once = False

    def __call__(self) -> bool:
        """True once a signal came, or `ask` was called."""
        return self._asked

    def ask(self) -> None:
        """Set the flag, as a signal does."""
        self._asked = True

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Within, signals interrupt at once: for imports, which take seconds and have no steps."""
        self._at_once = True
        try:
            yield
        except KeyboardInterrupt:
            self._asked = True
        finally:
            self._at_once = False

    def receive(self, number: int, _frame: FrameType | None) -> None:
        """Signal handler: the first signal sets the flag, the second one ends the process."""
        self.signal_number = number
        self._asked = True
        signal.signal(number, signal.SIG_DFL)
        if self._at_once:
            raise KeyboardInterrupt


@contextmanager
def raise_on_sigterm() -> Iterator[None]:
    """Within, SIGTERM raises KeyboardInterrupt with the signal's number, as Ctrl-C does."""

    def leave(number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt(number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def stop_on_signal() -> Iterator[Stop]:
    """Within, Ctrl-C or SIGTERM stops the work after the current step; a second one stops it at once."""
    stop = Stop()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, stop.receive) for number in numbers]
    try:
        yield stop
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
