"""Drop-in CPU fast paths with the same values; their speed-ups are in `docs/performance.md`."""

import ctypes
from functools import lru_cache

import torch
from torch import nn

from senet_lab.training.cpu.layers import FastAvgPool2d, FastConv2d
from senet_lab.training.cpu.mish import FastMish
from senet_lab.training.cpu.optimizer import FastAdam

__all__ = [
    "FastAdam",
    "FastAvgPool2d",
    "FastConv2d",
    "FastMish",
    "keep_memory",
    "use_fast_activations",
    "use_fast_layers",
    "use_fast_optimizer",
]


@lru_cache(maxsize=1)
def keep_memory() -> None:
    """Keep freed memory in this process, for the next step.

    By default glibc returns each large block to the system, which clears it page by page at the next
    allocation. No effect without glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        m_trim_threshold, m_mmap_max = -1, -4  # malloc.h
        mallopt(m_trim_threshold, -1)
        mallopt(m_mmap_max, 0)


def use_fast_layers(network: nn.Module) -> None:
    """Replace slow layers by their fast classes, in place; parameters stay."""
    for module in network.modules():
        if type(module) is nn.Conv2d and module.padding_mode == "zeros" and module.dilation == (1, 1):
            module.__class__ = FastConv2d
        elif type(module) is nn.AdaptiveAvgPool2d and module.output_size == 1:
            module.__class__ = FastAvgPool2d
    use_fast_activations(network)


def use_fast_activations(network: nn.Module) -> None:
    """Replace Mish by `FastMish`, in place; it can be compiled, too."""
    for module in network.modules():
        if type(module) is nn.Mish and not module.inplace:
            module.__class__ = FastMish


def use_fast_optimizer(optimizer: torch.optim.Optimizer) -> None:
    """Replace Adam and AdamW by `FastAdam`, in place; the state stays."""
    if type(optimizer) in (torch.optim.Adam, torch.optim.AdamW):  # they differ in a setting of their groups
        optimizer.__class__ = FastAdam
