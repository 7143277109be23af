"""Muon, orthogonalised momentum, for networks with convolutions."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from senet_lab.errors import UsageError


class Muon(torch.optim.Optimizer):
    """Muon for parameters of two or more dimensions, AdamW for all others, with one learning rate.

    `torch.optim.Muon` takes matrices only. Here the weight of a convolution, (out, in, k, k), is the matrix
    (out, in·k²), and vectors and scalars take AdamW's step, as Jordan proposes (2024,
    kellerjordan.github.io/posts/muon). An orthogonal update of shape (A, B) is scaled by 0.2·√max(A, B), so
    that its entries are as large as AdamW's and both share a learning rate: Liu et al., arXiv 2502.16982,
    section 2.2.

    Args:
        params: parameters or groups of them.
        lr: learning rate of both.
        momentum: Nesterov momentum of the matrices.
        weight_decay: decoupled weight decay of both.
        betas, eps: AdamW's coefficients.

    Raises:
        UsageError: a momentum or β outside of 0 to 1.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        betas: Sequence[float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        for key, values in (("momentum", [momentum]), ("betas", betas)):
            if not all(0 <= value < 1 for value in values):
                raise UsageError(f"optimizer.{key}={values}: must be from 0 to below 1")
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "betas": betas, "eps": eps}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Take a step from the existing gradients; `closure` must be None."""
        assert closure is None
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                step = self._matrix_step if parameter.ndim > 1 else self._adam_step
                parameter.add_(step(parameter, parameter.grad, group), alpha=-group["lr"])

    def _matrix_step(self, parameter: Tensor, grad: Tensor, group: dict[str, Any]) -> Tensor:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        average = state["momentum"].lerp_(grad, 1 - group["momentum"])
        update = grad.lerp(average, group["momentum"]).flatten(1)
        scale = 0.2 * math.sqrt(max(update.shape))
        return orthogonal(update).to(grad.dtype).mul_(scale).reshape(parameter.shape)

    def _adam_step(self, parameter: Tensor, grad: Tensor, group: dict[str, Any]) -> Tensor:
        state = self.state[parameter]
        if not state:
            state.update(step=0, mean=torch.zeros_like(parameter), square=torch.zeros_like(parameter))
        state["step"] += 1
        first, second = group["betas"]
        mean = state["mean"].lerp_(grad, 1 - first) / (1 - first ** state["step"])
        square = state["square"].lerp_(grad.square(), 1 - second) / (1 - second ** state["step"])
        return mean / square.sqrt_().add_(group["eps"])


def orthogonal(matrix: Tensor) -> Tensor:
    """Approximation of the nearest orthogonal matrix: same singular vectors, singular values of 0.7 to 1.2.

    Five quintic Newton–Schulz iterations with Jordan's coefficients.

    Args:
        matrix: (A, B); the result is bfloat16 of the same shape.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix.bfloat16()
    x = x.T if x.shape[0] > x.shape[1] else x
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if matrix.shape[0] > matrix.shape[1] else x
