"""Batch norm without redundant work: its batch counter, and biases that it would subtract again."""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class FastBatchNorm2d(nn.BatchNorm2d):
    """Batch norm that leaves its batch counter to `count_batches`.

    In training, the preceding convolution omits its bias, since the subtracted mean would cancel it. Only the
    running mean includes the bias, added here.
    """

    unbiased: tuple[nn.Conv2d, ...] = ()
    """The preceding convolution, if it has a bias; in a tuple, so that it is no submodule."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """Map (N, C, H, W) to the same shape."""
        if not self.training:
            return super().forward(input)
        assert self.momentum is not None
        for conv in self.unbiased:
            assert conv.bias is not None
            assert self.running_mean is not None
            # The following update of the running mean multiplies this by 1 - momentum.
            self.running_mean.add_(conv.bias.detach(), alpha=self.momentum / (1 - self.momentum))
        statistics = self.running_mean, self.running_var
        return F.batch_norm(input, *statistics, self.weight, self.bias, True, self.momentum, self.eps)


class UnbiasedConv2d(nn.Conv2d):
    """A convolution before a batch norm that omits its bias in training; the bias has a gradient of zero."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """Map (N, C, H, W) to (N, out, H', W')."""
        if not self.training:
            return super().forward(input)
        return _ZeroGradient.apply(self._conv_forward(input, self.weight, None), self.bias)


class _ZeroGradient(torch.autograd.Function):
    """The identity on a map, with a zero gradient for the unused bias instead of none."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(bias)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        (bias,) = ctx.saved_tensors
        return grad, torch.zeros_like(bias)


def use_fast_norms(network: nn.Module) -> None:
    """Replace batch norms, and convolutions with a bias before one, in place; parameters stay."""
    for module in network.modules():
        if type(module) is nn.BatchNorm2d and module.track_running_stats and (module.momentum or 1) < 1:
            module.__class__ = FastBatchNorm2d
    for module in network.modules():
        for conv, norm in pairwise(module) if isinstance(module, nn.Sequential) else ():
            if type(conv) is nn.Conv2d and conv.bias is not None and isinstance(norm, FastBatchNorm2d):
                conv.__class__ = UnbiasedConv2d
                norm.unbiased = (conv,)


def count_batches(network: nn.Module, batches: int) -> None:
    """Add an epoch's batches to the counters of all batch norms, in one kernel."""
    norms = [module for module in network.modules() if isinstance(module, FastBatchNorm2d)]
    counts = [norm.num_batches_tracked for norm in norms if norm.num_batches_tracked is not None]
    if counts:
        torch._foreach_add_(counts, batches)
