"""Cooperative multitasking: generators that yield between two steps and return their result."""

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from typing import TypeVar

T = TypeVar("T")
Turns = Generator[None, None, T]
"""A generator that yields after each turn and returns its result."""


def in_turns(work: Turns[T], context: Callable[[], AbstractContextManager]) -> Turns[T]:
    """Run `work` with `context` entered during its own turns only."""
    with closing(work):
        while True:
            with context():
                try:
                    next(work)
                except StopIteration as end:
                    return end.value
            yield


def interleave(works: Sequence[Turns[T]]) -> list[T]:
    """Give each of `works` a turn in rotation until all have ended; returns their results, in order."""
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
    """Run one work to its end, without interleaving; returns its result."""
    return interleave([work])[0]
