"""What makes a step faster on a CPU and leaves what it computes as it is.

`docs/performance.md` says what each of these gains.
"""

import ctypes
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from senet_lab.networks.activations import pieces, wide_dtype

FEW_PIXELS = 8192
"""Pixels of a batch up to which a 1×1 convolution is faster as a matrix product."""


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


class QuickConv2d(nn.Conv2d):
    """An `nn.Conv2d` that treats tiny maps and strided depthwise convolutions apart."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """Map (N, C, H, W) to (N, out, H', W')."""
        if self.groups == self.in_channels == self.out_channels > 1:
            return self._depthwise(input)
        if self.groups > 1 or isinstance(self.padding, str):
            return super().forward(input)
        batch, _, height, width = input.shape
        if self.kernel_size == (3, 3) and self.padding == (1, 1) and height == width <= 2:
            return self._whole_map(input)
        if self.kernel_size == (1, 1) and self.padding == (0, 0) and batch * height * width <= FEW_PIXELS:
            return self._pointwise(input)
        return super().forward(input)

    def _pointwise(self, x: Tensor) -> Tensor:
        """A 1×1 convolution as the product of two matrices, pixels × channels and channels × out."""
        down, right = self.stride
        pixels = x[:, :, ::down, ::right].permute(0, 2, 3, 1)
        return _to_map(F.linear(pixels, self.weight.flatten(1), self.bias))

    def _whole_map(self, x: Tensor) -> Tensor:
        """A 3×3 convolution of a map so small that each output sees all of it, as one matrix product."""
        batch, _, size, _ = x.shape
        taps = _taps(size, *self.stride)
        outputs = len(taps) // size**2
        kernel = self.weight.permute(0, 2, 3, 1).flatten(1, 2).index_select(1, taps)  # (out, taps, C)
        matrix = kernel.reshape(self.out_channels * outputs, -1)
        product = F.linear(x.permute(0, 2, 3, 1).reshape(batch, -1), matrix)
        product = product.view(batch, self.out_channels, outputs).transpose(1, 2).contiguous()
        if self.bias is not None:
            product = product + self.bias.to(product.dtype)
        down = len(range(0, size, self.stride[0]))
        return _to_map(product.reshape(batch, down, outputs // down, self.out_channels))

    def _depthwise(self, x: Tensor) -> Tensor:
        if self.stride != (1, 1):
            # The bfloat16 gradient of its input takes many times as long as the float32 one.
            with torch.autocast("cpu", enabled=False):
                return super().forward(x.to(self.weight.dtype)).to(x.dtype)
        bottom, right = 3 - x.shape[2], 3 - x.shape[3]
        if self.kernel_size == (3, 3) and self.padding == (1, 1) and bottom > 0 and right > 0:
            # The gradient of the weights takes many times as long as that of a 3×3 map. What is added is as
            # black as the padding; what comes out of it is cut off.
            return F.pad(super().forward(F.pad(x, (0, right, 0, bottom))), (0, -right, 0, -bottom))
        return super().forward(x)


class QuickAvgPool2d(nn.AdaptiveAvgPool2d):
    """An average over all pixels whose gradient is in channels_last."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """Map (N, C, H, W) to (N, C, 1, 1)."""
        return input.flatten(2).transpose(1, 2).mean(1)[:, :, None, None]


class QuickMish(nn.Mish):
    """Mish with one exponential each way, where PyTorch's takes several transcendental functions."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """Apply to every element."""
        return _MishFunction.apply(input)


class _MishFunction(torch.autograd.Function):
    """x·tanh(softplus(x)) = x·n/(n + 2) with e = exp(x) and n = e·(e + 2).

    With d = 1/(n + 2), tanh(softplus(x)) is 1 − 2d and its derivative 4e(1 + e)d². From e = exp(20) on, both
    are 1 and 0 in float32.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        out = torch.empty_like(x)
        for piece, result in zip(pieces(x), pieces(out), strict=True):
            wide = piece.to(wide_dtype(x))
            e = wide.clamp(max=20).exp_()
            n = (e + 2).mul_(e)
            result.copy_(n.div(n + 2).mul_(wide))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        grad_x = torch.empty_like(x)
        for piece, piece_grad, result in zip(pieces(x), pieces(grad), pieces(grad_x), strict=True):
            wide = piece.to(wide_dtype(x))
            e = wide.clamp(max=20).exp_()
            d = (e + 2).mul_(e).add_(2).reciprocal_()
            # 1 − 2d + 4x·e(1 + e)d² = 1 + d·(4x·e(1 + e)d − 2)
            slope = (e + 1).mul_(e).mul_(d).mul_(wide).mul_(4).sub_(2).mul_(d).add_(1)
            result.copy_(slope.mul_(piece_grad))
        return grad_x


def _to_map(pixels: Tensor) -> Tensor:
    """(N, H, W, C) → (N, C, H, W) in channels_last; a single pixel's strides are those of a plain tensor.

    Where both layouts fit, PyTorch's batch norm is slow if its input and gradient differ in them.
    """
    if pixels.shape[1] == pixels.shape[2] == 1:
        return pixels.flatten(1)[:, :, None, None]
    return pixels.permute(0, 3, 1, 2)


@lru_cache
def _taps(size: int, down: int, right: int) -> Tensor:
    """Which of the 3×3 weights meets which input: for each output, for each of the size² inputs, by rows."""
    outputs = [(row, column) for row in range(0, size, down) for column in range(0, size, right)]
    inputs = [(row, column) for row in range(size) for column in range(size)]
    return torch.tensor([3 * (y - row + 1) + x - column + 1 for row, column in outputs for y, x in inputs])
