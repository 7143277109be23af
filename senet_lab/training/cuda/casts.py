"""Batched casts of weights to half precision."""

from typing import Any

import torch
from torch import Tensor, nn

from senet_lab.training.cuda.norms import UnbiasedConv2d

CAST = (nn.Conv2d, nn.Linear, UnbiasedConv2d)
"""Layers whose weights autocast casts. Subclasses are excluded: they may compute with float32 weights."""


def forward_with_cast_weights(network: nn.Module, images: Tensor) -> Tensor:
    """The network's output under bfloat16 autocast, with all weights cast by a few kernels.

    Autocast alone launches one kernel per convolution and another for its gradient. The values are the same.
    """
    names = [f"{name}.weight" for name, module in network.named_modules() if type(module) in CAST]
    if not names:
        return network(images)
    cast = _CastTogether.apply(*map(network.get_parameter, names))
    return torch.func.functional_call(network, dict(zip(names, cast, strict=True)), (images,))


class _CastTogether(torch.autograd.Function):
    """Float32 tensors to bfloat16, and their gradients back."""

    @staticmethod
    def forward(_ctx: Any, *weights: Tensor) -> tuple[Tensor, ...]:
        cast = [torch.empty_like(weight, dtype=torch.bfloat16) for weight in weights]
        torch._foreach_copy_(cast, list(weights))
        return tuple(cast)

    @staticmethod
    def backward(_ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        wide = [torch.empty_like(grad, dtype=torch.float32) for grad in grads]
        torch._foreach_copy_(wide, list(grads))
        return tuple(wide)
