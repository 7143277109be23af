"""Work that can be interleaved: generators that yield between two steps and return what they came to."""

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from typing import TypeVar

T = TypeVar("T")
Turns = Generator[None, None, T]
"""Yields where others may have their turn; returns its outcome."""


def in_turns(work: Turns[T], context: Callable[[], AbstractContextManager]) -> Turns[T]:
    """Run `work` so that what `context` sets up holds during its own turns alone."""
    with closing(work):
        while True:
            with context():
                try:
                    next(work)
                except StopIteration as end:
                    return end.value
            yield


def interleave(works: Sequence[Turns[T]]) -> list[T]:
    """Give each of `works` a turn, again and again, until all have ended; what they return, in order."""
    outcomes: dict[int, T] = {}
    with ExitStack() as stack:
        going = {number: stack.enter_context(closing(work)) for number, work in enumerate(works)}
        while going:
            for number, work in list(going.items()):
                try:
                    next(work)
                except StopIteration as end:
                    outcomes[number] = end.value
                    del going[number]
    return [outcomes[number] for number in range(len(works))]


def finish(work: Turns[T]) -> T:
    """Run one work to its end, with nobody else's turns in between; what it returns."""
    return interleave([work])[0]
