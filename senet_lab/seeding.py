"""Random streams: every draw of a run comes from its seed, through independent streams.

An epoch's stream depends only on the seed and the epoch, so a resumed run draws the same numbers as an
uninterrupted one.
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
    """The purpose of a random stream."""

    WEIGHTS = 0
    ACTIVATION = 1
    EPOCH = 2
    GLOBAL = 3
    """Draws inside networks, such as dropout's, from the global generators."""
    SPLIT = 4
    """Split of a data set, from its own seed."""


def stream_seed(seed: int, stream: Stream, index: int = 0) -> int:
    """A 63-bit seed for `stream`, from NumPy's SeedSequence: similar seeds give unrelated streams."""
    state = np.random.SeedSequence([seed, int(stream), index]).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))


def generator(seed: int, stream: Stream, index: int = 0) -> torch.Generator:
    """A generator for `stream`, on the CPU so that draws do not depend on the device."""
    return torch.Generator().manual_seed(stream_seed(seed, stream, index))


def seed_global(seed: int) -> None:
    """Seed the global generators of Python, NumPy and torch, so that a run is independent of earlier ones."""
    number = stream_seed(seed, Stream.GLOBAL)
    random.seed(number)
    np.random.seed(number % 2**32)
    torch.manual_seed(number)


def global_state(device: torch.device) -> dict[str, Any]:
    """State of the global generators of Python, NumPy and torch, as plain values and tensors."""
    name, words, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (name, np.asarray(words).tolist(), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def set_global_state(state: Mapping[str, Any], device: torch.device) -> None:
    """Restore a `global_state`."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)


def check_global_state(state: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Restore a state in spare generators, to see whether it is a `global_state`.

    Args:
        state: of unknown origin.
        own: a `global_state` of the run's device.

    Raises:
        Exception: of any kind, by the generator that does not take its part.
    """
    random.Random().setstate(state["python"])
    spare = np.random.RandomState()
    spare.set_state(state["numpy"])
    numpy = spare.get_state(legacy=False)["state"]
    if not 0 <= numpy["pos"] <= len(numpy["key"]):  # NumPy would read beyond its words
        raise ValueError(f"NumPy's generator has {len(numpy['key'])} words, none at {numpy['pos']}")
    torch.Generator().set_state(state["torch"])
    cuda, own_cuda = state["cuda"], own["cuda"]
    if None not in (cuda, own_cuda) and (cuda.shape, cuda.dtype) != (own_cuda.shape, own_cuda.dtype):
        raise ValueError(f"the state of a CUDA generator has {own_cuda.numel()} bytes")


class OwnGenerators:
    """A run's own global generators, independent of other runs in the process.

    Switching takes about 50 µs, little compared with a step. On a GPU, the generator's state object is
    exchanged: a captured graph draws from the object that it was captured with, its own run's.
    """

    def __init__(self, device: torch.device) -> None:
        self.cpu = random.getstate(), torch.get_rng_state()
        self.numpy = np.random.MT19937()
        self.cuda: torch.Generator | None = None
        if device.type == "cuda":
            torch.cuda.init()
            index = torch.cuda.current_device() if device.index is None else device.index
            self.cuda = torch.cuda.default_generators[index]
            self.cuda_state = self.cuda.clone_state()

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within, the run's state is the global one; the previous state is restored afterwards."""
        before = random.getstate(), torch.get_rng_state()
        numpy_before = np.random.get_bit_generator()  # type: ignore[attr-defined]
        self._write(self.cpu)
        np.random.set_bit_generator(self.numpy)  # type: ignore[attr-defined]
        if self.cuda is not None:
            cuda_before = self.cuda.graphsafe_get_state()
            self.cuda.graphsafe_set_state(self.cuda_state)
        try:
            yield
        finally:
            self.cpu = random.getstate(), torch.get_rng_state()
            self._write(before)
            np.random.set_bit_generator(numpy_before)  # type: ignore[attr-defined]
            if self.cuda is not None:
                self.cuda.graphsafe_set_state(cuda_before)

    @staticmethod
    def _write(states: tuple[Any, Tensor]) -> None:
        random.setstate(states[0])
        torch.set_rng_state(states[1])
