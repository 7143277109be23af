"""Mish with few passes over memory."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from senet_lab.networks.activations.elementwise import ElementwiseFunction, Formula, plain, refuse_integers
from senet_lab.networks.pieces import dense, pieces


class FastMish(nn.Mish):
    """Mish with a single sigmoid, or in bfloat16 from a table of all 65,536 values unless it is compiled."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """Apply to every element.

        Raises:
            TypeError: the input is not of a floating-point dtype.
        """
        refuse_integers(self, input)
        if torch.compiler.is_compiling():  # one σ in one kernel, where torch's Mish has a tanh of a softplus
            return plain(_value, input)
        return _MishFunction.apply(F.mish, input)


class _MishFunction(ElementwiseFunction):
    @staticmethod
    def forward(_formula: Formula, x: Tensor, *_: Tensor) -> Tensor:
        return _by_piece(lambda piece: _evaluate(_value, piece), x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            return ElementwiseFunction.backward(ctx, grad)
        (x,) = ctx.saved_tensors
        return None, _by_piece(lambda piece, piece_grad: _evaluate(_slope, piece).mul_(piece_grad), x, grad)


def _value(x: Tensor) -> Tensor:
    """x·tanh(softplus(x)) = x·m/(2 − m), with s = σ(x) and m = s(2 − s): nothing overflows or cancels."""
    s = x.sigmoid()
    m = (2 - s).mul_(s)
    return (x * m).div_(2 - m)


def _slope(x: Tensor) -> Tensor:
    """The derivative of `_value`: (m + 4x·s(1 − s)²/(2 − m))/(2 − m)."""
    s = x.sigmoid()
    m = (2 - s).mul_(s)
    rest = 2 - m
    return (1 - s).square_().mul_(s).mul_(x).mul_(4).div_(rest).add_(m).div_(rest)


def _evaluate(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """`function` of each element of x (n,), in float32 or wider."""
    if x.dtype == torch.bfloat16:
        return _table(function).index_select(0, x.view(torch.uint16).long())
    return function(x)


@lru_cache
def _table(function: Callable[[Tensor], Tensor]) -> Tensor:
    """`function` of all values of bfloat16, float32 (65536,), in the order of their bits."""
    bits = torch.arange(1 << 16, dtype=torch.int32).to(torch.uint16)
    return function(bits.view(torch.bfloat16).double()).float()


def _by_piece(function: Callable[..., Tensor], x: Tensor, *others: Tensor) -> Tensor:
    """Apply `function` to all elements, piece by piece; the result is shaped as x."""
    x = dense(x)
    out = torch.empty_like(x)
    for result, *given in pieces(out, x, *others):
        result.copy_(function(*given))
    return out
