"""Device memory: an estimate for a run before it starts, and the free amount."""

import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from senet_lab.build import build_dataset, build_network, input_size
from senet_lab.config import RunConfig
from senet_lab.data.batches import AT_ONCE, TEST_BATCH
from senet_lab.data.dataset import InMemory
from senet_lab.training.engine import Engine
from senet_lab.training.steps import plain_forward

PROCESS_BYTES = 2**30
"""Memory of a process without its runs: libraries, a CUDA context, a small data set."""

WORKSPACES = {"cpu": 0, "cuda": 2 * 32 * 2**20}
"""Bytes that cuBLAS keeps per stream and its captured graphs, on a Hopper GPU."""

BETWEEN = 1.25
"""Factor for a step's temporaries (gradients of feature maps, workspaces) over its saved tensors."""


def run_bytes(config: RunConfig, state_bytes: int, engine: Engine) -> int:
    """Estimated bytes that a run takes: weights, gradients, a step or a test batch, workspaces.

    A captured step has its own memory, in addition to that of eager steps and tests.

    Args:
        config: the run's config.
        state_bytes: bytes of weights and optimizer state, as in a checkpoint.
        engine: device and precision.
    """
    kind = engine.device.type
    dataset = build_dataset(config.dataset)
    size = input_size(config, dataset)
    images = config.batch_size // config.accumulate
    tested = TEST_BATCH[kind] if isinstance(dataset, InMemory) else config.batch_size
    with torch.device("meta"):
        network = build_network(config, dataset.num_classes)
        batch, test_batch = (torch.empty(count, 3, size, size) for count in (images, tested))
        labels = torch.zeros(images, dtype=torch.int64)
    weights = sum(parameter.nbytes for parameter in network.parameters())
    kept, test = kept_bytes(network, batch, labels), forward_bytes(network, test_batch)
    if engine.precision == "bfloat16":
        kept, test = kept // 2, test // 2  # maps of half the size
        weights += weights // 2  # and their casts
    step, test = int(BETWEEN * (kept + batch.nbytes)), test + test_batch.nbytes
    passing = step + max(step, test) if engine.cuda_graph else max(step, test)
    # As many gradients as weights.
    return state_bytes + weights + passing + AT_ONCE[kind] + WORKSPACES[kind]


def kept_bytes(network: nn.Module, images: Tensor, labels: Tensor) -> int:
    """Bytes that a float32 forward pass saves for the backward pass, without weights.

    Args:
        network: the network, on the device `meta`.
        images: float32 (B, 3, H, H) on `meta`.
        labels: int64 (B,) on `meta`.
    """
    own = {tensor.untyped_storage()._cdata for tensor in [*network.parameters(), *network.buffers()]}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()._cdata
        if storage not in own:
            kept[storage] = tensor  # a reference, so that the storage's address is not reused
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        plain_forward(network.train(), images, labels)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


class _LiveBytes(TorchDispatchMode):
    """Counts the bytes of live tensors that operations create.

    Args:
        given: existing tensors, which are not counted.
    """

    def __init__(self, given: Iterable[Tensor]) -> None:
        super().__init__()
        self.now = self.most = 0
        self.known = {tensor.untyped_storage()._cdata for tensor in given}

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = function(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return out

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self.known:
            self.known.add(key)
            self.now += size
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self.known.remove(key)
        self.now -= size


def forward_bytes(network: nn.Module, images: Tensor) -> int:
    """Most bytes of feature maps that a float32 forward pass without gradients holds at a time.

    Args:
        network: the network, on the device `meta`.
        images: float32 (B, 3, H, H) on `meta`.
    """
    with torch.no_grad(), _LiveBytes([images, *network.parameters(), *network.buffers()]) as live:
        network.eval()(images)
    return live.most


def free_bytes(device: torch.device) -> int:
    """Free memory of the GPU, or of the machine."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    lines = Path("/proc/meminfo").read_text().splitlines()
    (available,) = (line for line in lines if line.startswith("MemAvailable:"))
    return int(available.split()[1]) * 1024  # Linux counts in KiB
