"""Reuse of expensive per-device resources that the process never frees."""

import weakref
from collections import defaultdict
from collections.abc import Callable
from typing import Generic, TypeVar

import torch

T = TypeVar("T")


class Lent(Generic[T]):
    """A pool of per-device resources, each lent to one owner until that owner is garbage-collected.

    Args:
        make: makes a resource for a device, if all are lent.
    """

    def __init__(self, make: Callable[[torch.device], T]) -> None:
        self.make = make
        self.idle: defaultdict[torch.device, list[T]] = defaultdict(list)

    def lend(self, owner: object, device: torch.device) -> T:
        """A resource for `owner`, until it is garbage-collected."""
        thing = self.idle[device].pop() if self.idle[device] else self.make(device)
        weakref.finalize(owner, self.idle[device].append, thing)
        return thing
