"""Device memory: an estimate for a run before it starts, and the free amount."""

from pathlib import Path

import torch
from torch import Tensor, nn

from senet_lab.build import build_augment, build_dataset, build_network
from senet_lab.config import RunConfig
from senet_lab.training.engine import Engine
from senet_lab.training.steps import plain_forward

PROCESS_BYTES = 2**30
"""Memory of a process besides its runs: libraries, a CUDA context, a small data set."""

BETWEEN = 1.25
"""Factor for a step's temporaries (gradients of feature maps, workspaces) over its saved tensors."""


def run_bytes(config: RunConfig, state_bytes: int, engine: Engine) -> int:
    """Estimated bytes that a run takes during training.

    Args:
        config: of the run.
        state_bytes: bytes of weights and optimizer state, as in a checkpoint.
        engine: device and precision.
    """
    dataset = build_dataset(config.dataset)
    size = build_augment(config.augment).output_size(dataset.image_size)
    images = config.batch_size // config.accumulate
    with torch.device("meta"):
        network = build_network(config, dataset.num_classes)
        batch = torch.empty(images, 3, size, size)
        labels = torch.zeros(images, dtype=torch.int64)
    weights = sum(parameter.nbytes for parameter in network.parameters())
    kept = kept_bytes(network, batch, labels)
    if engine.precision == "bfloat16":
        kept //= 2  # maps of half the size
        weights += weights // 2  # cast beside themselves
    return state_bytes + weights + int(BETWEEN * (kept + batch.nbytes))  # as many gradients as weights


def kept_bytes(network: nn.Module, images: Tensor, labels: Tensor) -> int:
    """Bytes that a float32 forward pass saves for the backward pass, without weights.

    Args:
        network: on the device `meta`.
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


def free_bytes(device: torch.device) -> int:
    """Free memory of the GPU, or of the machine."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    lines = Path("/proc/meminfo").read_text().splitlines()
    (available,) = (line for line in lines if line.startswith("MemAvailable:"))
    return int(available.split()[1]) * 1024  # Linux counts in KiB
