"""Schedules by step: a warm-up, then a decay over the rest of the training.

A schedule whose constructor takes `total_steps` is stepped after every batch, all others after every epoch.
"""

import math

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from senet_lab.errors import UsageError


class ByStep(LRScheduler):
    """A linear warm-up over W steps, then `decay` from the learning rate to `final` times it.

    Step t (from 0) of the warm-up uses (t + 1)/(W + 1) of the learning rate.

    Args:
        optimizer: the optimizer; ratios between the learning rates of its groups are kept.
        total_steps: steps of the whole training.
        warmup: share of the steps in which the learning rate rises.
        final: share of the learning rate at the end.

    Raises:
        UsageError: a share outside of 0 to 1.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        total_steps: int,
        warmup: float = 0.0,
        final: float = 0.0,
    ) -> None:
        if not 0 <= warmup < 1:
            raise UsageError(f"schedule.warmup={warmup}: must be a share of all steps, from 0 to below 1")
        if not 0 <= final <= 1:
            raise UsageError(f"schedule.final={final}: must be a share of the learning rate, from 0 to 1")
        self.total_steps = total_steps
        self.warmup_steps = int(warmup * total_steps)
        self.final = final
        super().__init__(optimizer)

    def decay(self, share: float) -> float:
        """Factor from 1 to 0, for a `share` of the steps from 0 to 1."""
        raise NotImplementedError

    def get_lr(self) -> list[float | Tensor]:
        """Learning rates of the groups at this step."""
        after = self.last_epoch - self.warmup_steps  # torch's name for the number of calls: here, steps
        if after < 0:
            factor = (self.last_epoch + 1) / (self.warmup_steps + 1)
        else:
            share = after / (self.total_steps - self.warmup_steps)
            factor = self.final + (1 - self.final) * self.decay(share)
        return [base * factor for base in self.base_lrs]


class Cosine(ByStep):
    """A decay along half a cosine: Loshchilov and Hutter, arXiv 1608.03983, without restarts."""

    def decay(self, share: float) -> float:
        """See `ByStep`."""
        return (1 + math.cos(math.pi * share)) / 2


class Linear(ByStep):
    """A linear decay."""

    def decay(self, share: float) -> float:
        """See `ByStep`."""
        return 1 - share
