"""Every random draw of a run comes from its seed, through streams that do not overlap.

An epoch's stream depends on the seed and the epoch alone, so a resumed run draws what an undisturbed
one draws.
"""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum
from typing import Any

import numpy as np
import torch
from torch import Tensor


class Stream(IntEnum):
    """What a stream of draws is for."""

    WEIGHTS = 0
    ACTIVATION = 1
    EPOCH = 2
    GLOBAL = 3
    """Draws inside networks, such as dropout's, from the generators that libraries share."""
    SPLIT = 4
    """Members of a data set's validation part, from a seed of its own."""


def stream_seed(seed: int, stream: Stream, index: int = 0) -> int:
    """A 63-bit seed for `stream`, from NumPy's SeedSequence: near seeds give unrelated streams."""
    state = np.random.SeedSequence([seed, int(stream), index]).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))


def generator(seed: int, stream: Stream, index: int = 0) -> torch.Generator:
    """A CPU generator for `stream`; draws are made on the CPU so that every device sees the same."""
    return torch.Generator().manual_seed(stream_seed(seed, stream, index))


def seed_global(seed: int) -> None:
    """Seed the generators of Python, NumPy and torch, so that nothing of an earlier run reaches this one."""
    number = stream_seed(seed, Stream.GLOBAL)
    random.seed(number)
    np.random.seed(number % 2**32)
    torch.manual_seed(number)


def global_state(device: torch.device) -> dict[str, Any]:
    """Where the generators of Python, NumPy and torch stand, as plain values and tensors."""
    name, words, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (name, np.asarray(words).tolist(), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def set_global_state(state: Mapping[str, Any], device: torch.device) -> None:
    """Go back to where `global_state` was taken."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"], device)


class OwnGenerators:
    """The global generators as one of several runs in a process has them, whatever the others draw.

    To change over takes some 50 µs, little beside a step.
    """

    def __init__(self, device: torch.device) -> None:
        self.on_gpu = device if device.type == "cuda" else None
        self.states = self._read()
        self.numpy = np.random.MT19937()

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the run's own state is the global one; afterwards, what was there before."""
        before = self._read()
        numpy_before = np.random.get_bit_generator()  # type: ignore[attr-defined]
        self._write(self.states)
        np.random.set_bit_generator(self.numpy)  # type: ignore[attr-defined]
        try:
            yield
        finally:
            self.states = self._read()
            self._write(before)
            np.random.set_bit_generator(numpy_before)  # type: ignore[attr-defined]

    def _read(self) -> tuple[Any, Tensor, Tensor | None]:
        cuda = None if self.on_gpu is None else torch.cuda.get_rng_state(self.on_gpu)
        return random.getstate(), torch.get_rng_state(), cuda

    def _write(self, states: tuple[Any, Tensor, Tensor | None]) -> None:
        python, cpu, cuda = states
        random.setstate(python)
        torch.set_rng_state(cpu)
        if self.on_gpu is not None and cuda is not None:
            torch.cuda.set_rng_state(cuda, self.on_gpu)
