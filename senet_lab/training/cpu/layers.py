"""Layers that avoid slow CPU kernels of PyTorch, with the same parameters and results."""

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FEW_PIXELS = 8192
"""Pixels of a batch up to which a 1×1 convolution is faster as a matrix product."""


class FastConv2d(nn.Conv2d):
    """An `nn.Conv2d` with special cases for tiny maps and strided depthwise convolutions."""

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
        # The gradient of a slice is contiguous, so that of pixels × channels is in channels_last.
        pixels = x.permute(0, 2, 3, 1)[:, ::down, ::right]
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
        if self.kernel_size == (3, 3) and self.padding == (1, 1) and x.shape[2] == x.shape[3] <= 2:
            return self._whole_map_depthwise(x)
        return super().forward(x)

    def _whole_map_depthwise(self, x: Tensor) -> Tensor:
        """A 3×3 depthwise convolution of a map so small that each output sees all of it."""
        batch, channels, size, _ = x.shape
        kernel = self.weight.flatten(1).index_select(1, _taps(size, 1, 1))  # (C, outputs · inputs)
        pixels = x.permute(0, 2, 3, 1).reshape(batch, -1, channels)
        out = _WeightedSums.apply(pixels, kernel.T.contiguous().view(size**2, size**2, channels))
        if self.bias is not None:
            out = out + self.bias.to(out.dtype)
        return _to_map(out.view(batch, size, size, channels))


class _WeightedSums(torch.autograd.Function):
    """x (N, I, C) and weights (O, I, C) to (N, O, C): sums over I, computed in the weights' format.

    The backward pass is of differentiable operations, so that gradients can be differentiated again.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(x, weights)
        return _weighted_sums(x.to(weights.dtype), weights).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, weights = ctx.saved_tensors
        wide, wide_grad = x.to(weights.dtype), grad.to(weights.dtype)
        grad_weights = [(wide * wide_grad[:, o : o + 1]).sum(0) for o in range(len(weights))]
        return _weighted_sums(wide_grad, weights.transpose(0, 1)).to(x.dtype), torch.stack(grad_weights)


def _weighted_sums(x: Tensor, weights: Tensor) -> Tensor:
    total = x[:, :1] * weights[:, 0]
    for i in range(1, x.shape[1]):
        total.addcmul_(x[:, i : i + 1], weights[:, i])
    return total


class FastAvgPool2d(nn.AdaptiveAvgPool2d):
    """An average over all pixels whose gradient is in channels_last."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """Map (N, C, H, W) to (N, C, 1, 1)."""
        return input.flatten(2).transpose(1, 2).mean(1)[:, :, None, None]


def _to_map(pixels: Tensor) -> Tensor:
    """(N, H, W, C) → (N, C, H, W) in channels_last; a single pixel's strides are those of a plain tensor.

    Where both layouts fit, PyTorch's batch norm is slow if its input and gradient differ in them.
    """
    if pixels.shape[1] == pixels.shape[2] == 1:
        return pixels.flatten(1)[:, :, None, None]
    return pixels.permute(0, 3, 1, 2)


@lru_cache
def _taps(size: int, down: int, right: int) -> Tensor:
    """Index of the 3×3 weight for each output and each of the size² inputs, by rows."""
    outputs = [(row, column) for row in range(0, size, down) for column in range(0, size, right)]
    inputs = [(row, column) for row in range(size) for column in range(size)]
    return torch.tensor([3 * (y - row + 1) + x - column + 1 for row, column in outputs for y, x in inputs])
