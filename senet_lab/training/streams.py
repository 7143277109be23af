"""Things of a device that are dear to make and never given back: lent, and lent again."""

import weakref
from collections import defaultdict
from collections.abc import Callable
from typing import Generic, TypeVar

import torch

T = TypeVar("T")


class Lent(Generic[T]):
    """Things of a device, each lent to one owner at a time, and again once that owner is gone.

    Args:
        make: makes one for a device, if all are lent.
    """

    def __init__(self, make: Callable[[torch.device], T]) -> None:
        self.make = make
        self.idle: defaultdict[torch.device, list[T]] = defaultdict(list)

    def lend(self, owner: object, device: torch.device) -> T:
        """One for `owner`, until it is garbage."""
        thing = self.idle[device].pop() if self.idle[device] else self.make(device)
        weakref.finalize(owner, self.idle[device].append, thing)
        return thing
