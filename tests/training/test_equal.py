"""The fast path against the plain one: as near to float64 as the plain path is, step by step."""

import copy
import itertools
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from senet_lab.build import build_network, build_optimizer
from senet_lab.composition.command import compose_command
from senet_lab.training.engine import Engine

# Each has 8×8 images shrink to tiny maps, and all kinds of layer of the full network.
SMALL = {
    "published/densenet121": ["model.depths=[2,1,1,2]"],
    "published/mobilenetv2": ["model.stages=[[1,16,1,1],[6,24,2,2],[6,32,1,2],[6,64,2,2],[6,96,1,1]]"],
    "published/senet18": ["model.depths=[1,1,1,1]", "model.widths=[16,24,32,36]"],
}
LR = 0.001
ROUNDING = {"float32": 2.0**-24, "bfloat16": 2.0**-9}
"""Of the number formats, relative."""


def config_of(model: str, activation: str) -> dict[str, Any]:
    words = [f"model={model}", *SMALL[model], f"activation={activation}", f"lr={LR}"]
    return compose_command("train", words).points[0].config


class Run:
    """A network and its optimizer, a step at a time."""

    def __init__(
        self, config: dict[str, Any], engine: Engine, dtype: torch.dtype, fast: bool = False
    ) -> None:
        self.engine = engine
        self.dtype = dtype
        network = build_network(config, 10).to(dtype)
        self.network = engine.place(network) if fast else network
        make = engine.make_optimizer if fast else build_optimizer
        self.optimizer = make(config.optimizer, self.network, config.lr)

    def goes_on_from(self, other: "Run") -> None:
        """Take over another run's weights, running statistics and moments, rounded to this one's format."""
        self.network.load_state_dict(other.network.state_dict())
        self.optimizer.load_state_dict(copy.deepcopy(other.optimizer.state_dict()))

    def step(self, images: Tensor, labels: Tensor) -> tuple[float, Tensor]:
        """The loss, and after the step all weights and running statistics."""
        self.optimizer.zero_grad()
        with self.engine.autocast():
            logits = self.network(images.to(self.dtype, memory_format=torch.channels_last))
        loss = F.cross_entropy(logits.to(torch.promote_types(self.dtype, torch.float32)), labels)
        loss.backward()
        self.optimizer.step()
        return loss.item(), torch.cat(
            [value.flatten().double() for value in self.network.state_dict().values()]
        )


@pytest.mark.parametrize("activation", ["relu", "mish", "tact", "mtact"])
@pytest.mark.parametrize("model", SMALL)
def test_the_fast_path_is_as_exact_as_the_plain_one(model: str, activation: str) -> None:
    """Two roundings of the same numbers differ from float64 alike, up to a factor that chance gives.

    Each of six steps begins where float64 stands: left alone, either path drifts away, sooner or later by
    chance, since Adam turns a gradient that rounding made of 0 into a whole step. A loss is one number, whose
    error may be near 0 by luck: it is held against the rounding of its format. Weights and statistics are
    held as a whole: the root of the summed squares of their errors.
    """
    config = config_of(model, activation)
    exact = Run(config, Engine(torch.device("cpu"), "float32", deterministic=False), torch.float64)
    runs = {
        precision: [Run(config, engine, torch.float32, fast=fast) for fast in (False, True)]
        for precision in ROUNDING
        for engine in [Engine(torch.device("cpu"), precision, deterministic=False)]
    }
    draws = torch.Generator().manual_seed(1)
    losses: list[float] = []
    errors: dict[str, list[tuple[float, float]]] = {precision: [] for precision in ROUNDING}
    for step in range(6):
        batch = torch.randn(16, 3, 8, 8, generator=draws), torch.randint(10, (16,), generator=draws)
        if step > 0:
            for run in itertools.chain(*runs.values()):
                run.goes_on_from(exact)
        loss, state = exact.step(*batch)
        losses.append(loss)
        for precision, pair in runs.items():
            for run in pair:
                run_loss, run_state = run.step(*batch)
                errors[precision].append((abs(run_loss - loss), (run_state - state).norm().item()))
    for precision, rounding in ROUNDING.items():
        found = errors[precision]
        plain, fast = (torch.tensor(found[i::2], dtype=torch.float64).norm(dim=0) for i in (0, 1))
        # A loss is a sum over some 20 layers, each of which rounds.
        assert fast[0] <= 2 * plain[0] + 20 * rounding * max(losses), precision
        assert fast[1] <= 1.25 * plain[1], precision
