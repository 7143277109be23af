"""Splitting of feature maps into pieces that fit into a CPU core's cache with all intermediate results."""

from collections.abc import Iterator

import torch
from torch import Tensor

PIECE = 1 << 17
"""Elements of a piece."""


def dense(x: Tensor) -> Tensor:
    """x, or a copy without gaps in memory: contiguous or channels_last."""
    if x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last):
        return x
    return x.contiguous()


def laid_out_as(x: Tensor, other: Tensor) -> Tensor:
    """``other``, or a copy of it, in the layout of ``x``, which has its shape and dtype."""
    return other if other.stride() == x.stride() else torch.empty_like(x).copy_(other)


def pieces(out: Tensor, *others: Tensor, whole_images: bool = False) -> Iterator[tuple[Tensor, ...]]:
    """Views of ``out``, for writing, and of tensors of its shape, piece by piece.

    Args:
        out: `dense`, (N, C, …).
        others: tensors to read; copied if their layout differs from that of ``out``.
        whole_images: pieces are (n, C, …) instead of (n,) in memory order.
    """
    tensors, size = [out, *(laid_out_as(out, one) for one in others)], PIECE
    if whole_images:
        size = max(1, PIECE * len(out) // max(1, out.numel()))
    else:
        tensors = [one.as_strided((out.numel(),), (1,)) for one in tensors]
    if out.device.type == "cpu":
        yield from zip(*(one.split(size) for one in tensors), strict=True)
    else:
        yield tuple(tensors)
