"""The exponential moving average of a network's weights."""

import copy
from typing import Any

import torch
from torch import Tensor, nn


class WeightAverage:
    """A copy of a network with averaged weights: w̄ ← w̄ + (1 − d)(w − w̄) after each step.

    Szegedy et al., arXiv 1512.00567, section 8. At step t, from 1, d = min(decay, (1 + t)/(10 + t)), which
    soon forgets the initial weights, as `num_updates` of TensorFlow's ExponentialMovingAverage. Running
    statistics of batch norm are averaged like weights; integers are copied. The host never waits for the
    device.

    Args:
        network: the network in training, on its device.
        decay: maximal decay, from 0 to below 1.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self.steps = 0
        pairs = list(zip(_tensors(self.network), _tensors(network), strict=True))
        self._averaged = [pair for pair in pairs if pair[0].is_floating_point()]
        self._copied = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def update(self) -> None:
        """Update the average after an optimizer step."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        own, current = ([pair[side] for pair in self._averaged] for side in (0, 1))
        torch._foreach_lerp_(own, current, 1 - decay)
        for copied, value in self._copied:
            copied.copy_(value)

    def state_dict(self) -> dict[str, Any]:
        """The complete state: weights, and number of steps."""
        return {"network": self.network.state_dict(), "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a `state_dict`, from any device."""
        self.network.load_state_dict(state["network"])
        self.steps = state["steps"]


def _tensors(network: nn.Module) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]
