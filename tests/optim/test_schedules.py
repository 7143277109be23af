"""Schedules by step against torch's own and against their formulas."""

import math
import warnings

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler

from senet_lab.errors import UsageError
from senet_lab.optim import Cosine, Linear

STEPS = 40


def optimizer() -> torch.optim.Optimizer:
    groups = [{"params": [nn.Parameter(torch.ones(1))], "lr": lr} for lr in (0.1, 0.4)]
    return torch.optim.SGD(groups, lr=1.0)


def rates(schedule: LRScheduler, steps: int = STEPS) -> list[list[float]]:
    """Those of each group at each step, and at the end."""
    found = []
    for _ in range(steps):
        found.append([group["lr"] for group in schedule.optimizer.param_groups])
        schedule.optimizer.step()
        schedule.step()
    return [*found, [group["lr"] for group in schedule.optimizer.param_groups]]


def test_a_cosine_without_warmup_is_torchs() -> None:
    ours = rates(Cosine(optimizer(), STEPS))
    theirs = rates(CosineAnnealingLR(optimizer(), STEPS))
    torch.testing.assert_close(torch.tensor(ours), torch.tensor(theirs), rtol=0, atol=1e-6)


def test_a_line_without_warmup_is_torchs() -> None:
    ours = rates(Linear(optimizer(), STEPS, final=0.25))
    with warnings.catch_warnings():
        theirs = rates(LinearLR(optimizer(), 1.0, 0.25, STEPS))
    torch.testing.assert_close(torch.tensor(ours), torch.tensor(theirs), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", [Cosine, Linear])
def test_a_warmup_rises_evenly_and_the_decay_takes_the_rest(kind: type[Cosine] | type[Linear]) -> None:
    one, other = torch.tensor(rates(kind(optimizer(), STEPS, warmup=0.2, final=0.1))).T
    torch.testing.assert_close(other, 4 * one)  # groups keep their proportion
    assert one[:9].tolist() == pytest.approx([0.1 * (step + 1) / 9 for step in range(9)])
    middle = 8 + (STEPS - 8) // 2
    assert one[middle].item() == pytest.approx(0.1 * (0.1 + 0.9 / 2))
    assert one[-1].item() == pytest.approx(0.1 * 0.1)
    assert (one[8:].diff() < 0).all()


def test_a_schedule_goes_on_from_its_state() -> None:
    expected = rates(Cosine(optimizer(), STEPS, warmup=0.1))
    first = Cosine(optimizer(), STEPS, warmup=0.1)
    for _ in range(13):
        first.optimizer.step()
        first.step()
    second = Cosine(optimizer(), STEPS, warmup=0.1)
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    second.load_state_dict(first.state_dict())
    assert rates(second, STEPS - 13) == expected[13:]


@pytest.mark.parametrize(
    ("key", "value"),
    [("warmup", 1.0), ("warmup", -0.1), ("final", 1.5), ("final", -0.1), ("final", math.nan)],
)
def test_a_share_that_is_none_is_refused(key: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"schedule.{key}="):
        Cosine(optimizer(), STEPS, **{key: value})
