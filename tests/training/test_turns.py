from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from senet_lab.training.turns import Turns, finish, in_turns, interleave


def work(name: str, steps: int, log: list[str]) -> Turns[str]:
    try:
        for step in range(steps):
            log.append(f"{name}{step}")
            yield
    finally:
        log.append(f"{name} ends")
    return name.upper()


def test_works_take_turns_and_end_when_they_end() -> None:
    log: list[str] = []
    assert interleave([work("a", 1, log), work("b", 3, log), work("c", 0, log)]) == ["A", "B", "C"]
    assert log == ["a0", "b0", "c ends", "a ends", "b1", "b2", "b ends"]


def test_an_error_ends_the_others_in_order() -> None:
    def failing(log: list[str]) -> Turns[str]:
        yield from work("a", 1, log)
        raise ZeroDivisionError

    log: list[str] = []
    with pytest.raises(ZeroDivisionError):
        interleave([failing(log), work("b", 3, log)])
    assert log == ["a0", "b0", "a ends", "b ends"]


def test_a_context_holds_during_own_turns_alone() -> None:
    held: list[str] = []
    seen: list[list[str]] = []

    @contextmanager
    def context(name: str) -> Iterator[None]:
        held.append(name)
        try:
            yield
        finally:
            held.remove(name)

    def look(steps: int) -> Turns[int]:
        for _ in range(steps):
            seen.append(list(held))
            yield
        return steps

    works = [in_turns(look(2), lambda name=name: context(name)) for name in "ab"]  # type: ignore[misc]
    assert interleave(works) == [2, 2]
    assert seen == [["a"], ["b"], ["a"], ["b"]]
    assert held == []


def test_finish_returns_what_the_work_returns() -> None:
    assert finish(work("a", 2, [])) == "A"
