"""What makes a step faster on a CPU and leaves what it computes as it is.

`docs/performance.md` says what each of these gains.
"""

import ctypes
from functools import lru_cache

import torch
from torch import nn

from senet_lab.training.cpu.layers import QuickAvgPool2d, QuickConv2d
from senet_lab.training.cpu.mish import QuickMish
from senet_lab.training.cpu.optimizer import QuickAdam

__all__ = [
    "QuickAdam",
    "QuickAvgPool2d",
    "QuickConv2d",
    "QuickMish",
    "keep_memory",
    "quicken",
    "quicken_optimizer",
]


@lru_cache(maxsize=1)
def keep_memory() -> None:
    """Let this process keep the memory that a step frees: the next step needs it again.

    By default glibc hands each large block back to the system, which clears it page by page when the next
    step asks for it. Elsewhere than on glibc, nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        m_trim_threshold, m_mmap_max = -1, -4  # malloc.h
        mallopt(m_trim_threshold, -1)
        mallopt(m_mmap_max, 0)


def quicken(network: nn.Module) -> None:
    """Give the network's layers ways around what is slow on a CPU; their parameters stay what they are."""
    for module in network.modules():
        if type(module) is nn.Conv2d and module.padding_mode == "zeros" and module.dilation == (1, 1):
            module.__class__ = QuickConv2d
        elif type(module) is nn.AdaptiveAvgPool2d and module.output_size == 1:
            module.__class__ = QuickAvgPool2d
        elif type(module) is nn.Mish and not module.inplace:
            module.__class__ = QuickMish


def quicken_optimizer(optimizer: torch.optim.Optimizer) -> None:
    """Give the optimizer a way around what is slow on a CPU; its state stays what it is."""
    if type(optimizer) is torch.optim.Adam:
        optimizer.__class__ = QuickAdam
