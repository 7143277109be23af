"""Elementwise activations: computed in float32, saving only their input for the backward pass."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from senet_lab.networks.pieces import dense, pieces

Formula = Callable[..., Tensor]
"""Maps x and coefficients that broadcast against it to the output, all of one dtype."""


class ElementwiseFunction(torch.autograd.Function):
    """A formula of x and its coefficients that saves no feature map except x for the backward pass.

    The backward pass recomputes the formula piece by piece. Half-precision x is computed in float32: as exact
    as PyTorch's own activations, and the gradients of coefficients, sums over a whole map, neither overflow
    nor lose small terms. Gradients can be differentiated again.

    A subclass computes one formula with fewer passes over memory; it calls this class's `backward` if
    `torch.is_grad_enabled()`, that is, under `create_graph=True`.
    """

    @staticmethod
    def forward(formula: Formula, x: Tensor, *coefficients: Tensor) -> Tensor:
        """Apply the formula to x (N, C, …); shape, dtype and layout stay those of x."""
        x = dense(x)
        out = torch.empty_like(x)
        for result, piece in pieces(out, x, whole_images=any(one.ndim for one in coefficients)):
            result.copy_(formula(piece.to(wide_dtype(x)), *coefficients))
        return out

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], _output: Tensor) -> None:
        """Keep the inputs."""
        ctx.formula, *tensors = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of x and of each coefficient."""
        if torch.is_grad_enabled():
            return None, *_differentiable(ctx.formula, ctx.saved_tensors, grad)
        x, *coefficients = ctx.saved_tensors
        x = dense(x)
        grad_x, sums = torch.empty_like(x), [torch.zeros_like(one) for one in coefficients]
        whole_images = any(one.ndim for one in coefficients)
        for result, piece, piece_grad in pieces(grad_x, x, grad, whole_images=whole_images):
            inputs = [one.detach().requires_grad_() for one in (piece.to(wide_dtype(x)), *coefficients)]
            with torch.enable_grad():
                out = ctx.formula(*inputs)
            through_x, *parts = torch.autograd.grad(out, inputs, piece_grad.to(out.dtype))
            result.copy_(through_x)
            for index, part in enumerate(parts):
                sums[index] += part
        return None, grad_x, *sums


class Elementwise(nn.Module):
    """An elementwise activation: a formula of x (N, C, …) and its coefficients.

    A subclass defines the `formula`, and its learned coefficients as parameters of shape () or (C,).
    """

    function: ClassVar[type[ElementwiseFunction]] = ElementwiseFunction

    formula: Formula
    """A static method: the output for x and the `effective` coefficients, in float32 or wider."""

    def effective(self) -> Iterable[Tensor]:
        """The coefficients of the formula: the parameters in the order of their definition."""
        return self.parameters(recurse=False)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the activation; shape, dtype and layout stay those of x.

        Raises:
            TypeError: x is not of a floating-point dtype.
        """
        refuse_integers(self, x)
        coefficients = [along_channels(one, x) for one in self.effective()]
        if torch.compiler.is_compiling():
            # Up to torch 2.11, in-place writes in a Function's forward make compiled gradients zero.
            return plain(self.formula, x, *coefficients)
        return self.function.apply(self.formula, x, *coefficients)


def plain(formula: Formula, x: Tensor, *coefficients: Tensor) -> Tensor:
    """The formula under plain autograd, in float32 or wider, rounded once to x's dtype."""
    return formula(x.to(wide_dtype(x)), *coefficients).to(x.dtype)


def refuse_integers(module: nn.Module, x: Tensor) -> None:
    """Raise a TypeError if x is not of a floating-point dtype."""
    if not x.is_floating_point():
        raise TypeError(f"{type(module).__name__}: takes floating-point values, not {x.dtype}")


def along_channels(coefficient: Tensor, x: Tensor) -> Tensor:
    """A coefficient of shape () or (C,), shaped to broadcast against x (N, C, …)."""
    return coefficient.view(-1, *(1,) * (x.ndim - 2)) if coefficient.ndim else coefficient


def wide_dtype(x: Tensor) -> torch.dtype:
    """The dtype of the computation: float32, or x's if it is wider."""
    return torch.promote_types(x.dtype, torch.float32)


def _differentiable(formula: Formula, inputs: Sequence[Tensor], grad: Tensor) -> Iterable[Tensor | None]:
    """The gradients of `plain` as functions of inputs and grad; None where an input needs none."""
    out = plain(formula, *inputs)
    wanted = [one for one in inputs if one.requires_grad]
    found = iter(torch.autograd.grad(out, wanted, grad, create_graph=True))
    return (next(found) if one.requires_grad else None for one in inputs)
