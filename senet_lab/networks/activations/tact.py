"""TAct and mTAct, with two coefficients: α and β."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from senet_lab.networks.activations.elementwise import (
    Elementwise,
    ElementwiseFunction,
    Formula,
    wide_dtype,
)
from senet_lab.networks.pieces import dense, pieces


class TActFunction(ElementwiseFunction):
    """(αx + 1 − α)·σ((1 + β)x) with a closed-form gradient: fewer passes over memory."""

    @staticmethod
    def forward(_formula: Formula, x: Tensor, *coefficients: Tensor) -> Tensor:
        """Apply the activation to every element."""
        alpha, beta = coefficients
        x = dense(x)
        out = torch.empty_like(x)
        slope, offset = 1 + beta, 1 - alpha
        for result, piece in pieces(out, x, whole_images=alpha.ndim > 0):
            wide = piece.to(wide_dtype(x))
            gate = (wide * slope).sigmoid_()
            result.copy_(gate.mul_(wide.mul(alpha).add_(offset)))
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of x, α and β."""
        if torch.is_grad_enabled():
            return ElementwiseFunction.backward(ctx, grad)
        x, alpha, beta = ctx.saved_tensors
        x = dense(x)
        grad_x, grad_alpha, grad_beta = torch.empty_like(x), torch.zeros_like(alpha), torch.zeros_like(beta)
        slope, offset = 1 + beta, 1 - alpha
        for result, piece, piece_grad in pieces(grad_x, x, grad, whole_images=alpha.ndim > 0):
            wide = piece.to(wide_dtype(x))
            gate = (wide * slope).sigmoid_()
            # Gradients of the factor αx + 1 − α …
            through_line = piece_grad.to(wide_dtype(x)) * gate
            # … and of the gate's argument.
            through_gate = wide.mul(alpha).add_(offset).mul_(through_line)
            through_gate.addcmul_(through_gate, gate, value=-1)
            grad_alpha += (through_line * wide).sum_to_size(alpha.shape)
            grad_alpha -= through_line.sum_to_size(alpha.shape)
            grad_beta += (through_gate * wide).sum_to_size(beta.shape)
            result.copy_(through_line.mul_(alpha).add_(through_gate.mul_(slope)))
        return None, grad_x, grad_alpha, grad_beta


class TAct(Elementwise):
    """TAct(x) = (αx + 1 − α)·σ((1 + β)x), for x of shape (N, C, …).

    The same function as (A·x + B)(tanh(C·x) + 1) with A = α/2, B = (1 − α)/2, C = (1 + β)/2, in a form that
    cannot overflow. Source: the public repository GSPuniani/MBG-Activation-Functions.

    Args:
        channels: width of the site, used when ``per_channel``.
        alpha, beta: initial values.
        learnable: parameters if true, buffers otherwise.
        per_channel: coefficients of shape (channels,) instead of ().
    """

    function: ClassVar[type[ElementwiseFunction]] = TActFunction

    def __init__(
        self, channels: int, alpha: float, beta: float, learnable: bool = True, per_channel: bool = False
    ) -> None:
        super().__init__()
        kind = nn.Parameter if learnable else nn.Buffer
        shape = (channels,) if per_channel else ()
        self.alpha = kind(torch.full(shape, float(alpha)))
        self.beta = kind(torch.full(shape, float(beta)))

    @staticmethod
    def formula(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
        """(αx + 1 − α)·σ((1 + β)x)."""
        return (alpha * x + (1 - alpha)) * torch.sigmoid((1 + beta) * x)

    def coefficients(self) -> dict[str, Tensor]:
        """α and β, learned or not."""
        return {"alpha": self.alpha, "beta": self.beta}

    def effective(self) -> tuple[Tensor, Tensor]:
        """α and β of the formula."""
        return self.alpha, self.beta


class MTAct(TAct):
    """mTAct is TAct with α² for α and β² for β: (α²x + 1 − α²)·σ((1 + β²)x)."""

    def effective(self) -> tuple[Tensor, Tensor]:
        """α² and β², in place of α and β."""
        return self.alpha.square(), self.beta.square()
