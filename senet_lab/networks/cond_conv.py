"""Conditionally parameterised convolution (Yang et al., NeurIPS 2019, arXiv 1904.04971)."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class CondConv2d(nn.Conv2d):
    """A convolution whose weights are, for each image, a weighted sum of ``experts`` sets of weights.

    The coefficients of an image are σ(linear(global average pool)). A batch is one grouped convolution, with
    one group per image.

    Args:
        *args, **kwargs: of ``nn.Conv2d``.
        experts: M, the number of sets of weights.
    """

    def __init__(self, *args: Any, experts: int = 4, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.shape = self.weight.shape  # (out, in / groups, kernel, kernel)
        draws = [self.weight.detach().flatten().clone()]
        for _ in range(experts - 1):
            self.reset_parameters()  # initialise each expert as an independent convolution
            draws.append(self.weight.detach().flatten().clone())
        self.weight = nn.Parameter(torch.stack(draws))  # (M, out · in / groups · kernel²)
        if self.bias is not None:
            self.bias = nn.Parameter(self.bias.detach().repeat(experts, 1))
        self.routing = nn.Linear(self.in_channels, experts)

    def mix(self, input: Tensor) -> Tensor:  # noqa: A002
        """The share of each expert for each image: (N, C, H, W) to (N, M), each in 0..1."""
        return torch.sigmoid(self.routing(input.mean(dim=(2, 3))))

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """Map (N, C, H, W) to (N, out, H', W')."""
        images, channels, height, width = input.shape
        mix = self.mix(input)
        weight = (mix @ self.weight).view(-1, *self.shape[1:])  # (N · out, in / groups, kernel, kernel)
        bias = None if self.bias is None else (mix @ self.bias).flatten()
        output = F.conv2d(
            input.reshape(1, images * channels, height, width),
            weight.to(input.dtype),
            bias,
            self.stride,
            self.padding,
            self.dilation,
            groups=images * self.groups,
        )
        return output.view(images, self.out_channels, *output.shape[2:])
