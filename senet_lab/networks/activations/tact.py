"""TAct and mTAct, with two coefficients: α and β."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from senet_lab.networks.pieces import dense, pieces


class TAct(nn.Module):
    """TAct(x) = (αx + 1 − α)·σ((1 + β)x), for x of shape (N, C, …).

    The same function as (A·x + B)(tanh(C·x) + 1) with A = α/2, B = (1 − α)/2, C = (1 + β)/2, in a form that
    cannot overflow. Source: the public repository GSPuniani/MBG-Activation-Functions.

    Args:
        channels: width of the site, used when ``per_channel``.
        alpha, beta: initial values.
        learnable: parameters if true, buffers otherwise.
        per_channel: coefficients of shape (channels,) instead of ().
    """

    def __init__(
        self, channels: int, alpha: float, beta: float, learnable: bool = True, per_channel: bool = False
    ) -> None:
        super().__init__()
        kind = nn.Parameter if learnable else nn.Buffer
        shape = (channels,) if per_channel else ()
        self.alpha = kind(torch.full(shape, float(alpha)))
        self.beta = kind(torch.full(shape, float(beta)))

    def coefficients(self) -> dict[str, Tensor]:
        """α and β, learned or not."""
        return {"alpha": self.alpha, "beta": self.beta}

    def effective(self) -> tuple[Tensor, Tensor]:
        """α and β of the formula."""
        return self.alpha, self.beta

    def forward(self, x: Tensor) -> Tensor:
        """Apply the activation to every element; shape and dtype stay those of ``x``."""
        alpha, beta = self.effective()
        if alpha.ndim:
            broadcast = (-1,) + (1,) * (x.ndim - 2)  # (C, 1, 1) against (N, C, H, W)
            alpha, beta = alpha.view(broadcast), beta.view(broadcast)
        return _TActFunction.apply(x, alpha, beta)


class MTAct(TAct):
    """mTAct is TAct with α² for α and β² for β: (α²x + 1 − α²)·σ((1 + β²)x)."""

    def effective(self) -> tuple[Tensor, Tensor]:
        """α² and β², which the formula takes for α and β."""
        return self.alpha.square(), self.beta.square()


class _TActFunction(torch.autograd.Function):
    """(αx + 1 − α)·σ((1 + β)x), keeping x alone of all feature maps.

    Half-precision x is computed in float32: as exact as PyTorch's own activations, and the sums for α and β
    over a whole feature map neither overflow nor lose small terms.
    """

    @staticmethod
    def forward(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
        x = dense(x)
        out = torch.empty_like(x)
        slope, offset = 1 + beta, 1 - alpha
        for result, piece in pieces(out, x, whole_images=alpha.ndim > 0):
            wide = piece.to(wide_dtype(x))
            gate = (wide * slope).sigmoid_()
            result.copy_(gate.mul_(wide.mul(alpha).add_(offset)))
        return out

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:  # noqa: ARG004
        ctx.save_for_backward(*inputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
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
        return grad_x, grad_alpha, grad_beta


def wide_dtype(x: Tensor) -> torch.dtype:
    """The number format to compute in: float32, or that of x where it is wider."""
    return torch.promote_types(x.dtype, torch.float32)
