"""Initialisation of weights other than PyTorch's default."""

import math
from collections.abc import Callable

from torch import nn


def he(network: nn.Module) -> None:
    """Draw convolutions from a normal of variance 2 / (out · kernel²).

    He et al., ICCV 2015, arXiv 1502.01852, section 2.2, the backward case.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.out_channels * math.prod(module.kernel_size)
            nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
            if module.bias is not None:
                nn.init.zeros_(module.bias)


INITS: dict[str, Callable[[nn.Module], object]] = {"default": lambda _: None, "he": he}
