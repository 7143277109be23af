"""Lion: the sign of a momentum."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

from senet_lab.errors import UsageError


class Lion(torch.optim.Optimizer):
    """Lion of Chen et al., arXiv 2302.06675, algorithm 2: u = sign(β₁m + (1 − β₁)g), w ← w − lr(u + λw).

    Then m ← β₂m + (1 − β₂)g. Each step moves every parameter by lr, so the paper uses a learning rate three
    to ten times smaller than AdamW's, and a weight decay three to ten times larger.

    Args:
        params: parameters or groups of them.
        lr: learning rate.
        betas: β₁ and β₂.
        weight_decay: λ, decoupled.

    Raises:
        UsageError: a β outside of 0 to 1.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        betas: Sequence[float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise UsageError(f"optimizer.betas={list(betas)}: must be two numbers from 0 to below 1")
        super().__init__(params, {"lr": lr, "betas": tuple(betas), "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Take a step from the existing gradients; `closure` must be None."""
        assert closure is None
        for group in self.param_groups:
            first, second = group["betas"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                momentum = state["momentum"]
                update = momentum.lerp(parameter.grad, 1 - first).sign_()
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(update, alpha=-group["lr"])
                momentum.lerp_(parameter.grad, 1 - second)
