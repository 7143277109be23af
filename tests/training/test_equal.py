"""The fast path against the plain one: as near to float64 as the plain path is, after one step and ten."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from senet_lab.build import build_network, build_optimizer
from senet_lab.compose import compose_command
from senet_lab.training.engine import Engine

# Each has 8×8 images shrink to tiny maps, and all kinds of layer of the full network.
SMALL = {
    "published/densenet121": ["model.depths=[2,1,1,2]"],
    "published/mobilenetv2": ["model.stages=[[1,16,1,1],[6,24,2,2],[6,32,1,2],[6,64,2,2],[6,96,1,1]]"],
    "published/senet18": ["model.depths=[1,1,1,1]", "model.widths=[16,24,32,36]"],
}
LR = 0.001


def config_of(model: str, activation: str) -> dict[str, Any]:
    words = [f"model={model}", *SMALL[model], f"activation={activation}", f"lr={LR}"]
    return compose_command("train", words).points[0].config


def train(
    network: nn.Module, config: dict[str, Any], engine: Engine, dtype: torch.dtype, steps: int
) -> tuple[list[float], Tensor]:
    """Losses of so many steps on fixed images, and all weights after them."""
    optimizer = build_optimizer(config["optimizer"], network, config["lr"])
    draws = torch.Generator().manual_seed(1)
    losses = []
    for _ in range(steps):
        images = torch.randn(16, 3, 8, 8, generator=draws).to(dtype)
        labels = torch.randint(10, (16,), generator=draws)
        optimizer.zero_grad()
        with engine.autocast():
            logits = network(images.contiguous(memory_format=torch.channels_last))
        loss = F.cross_entropy(logits.to(torch.promote_types(dtype, torch.float32)), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, torch.cat([parameter.detach().flatten().double() for parameter in network.parameters()])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("activation", ["relu", "mish", "tact", "mtact"])
@pytest.mark.parametrize("model", SMALL)
def test_the_fast_path_is_as_exact_as_the_plain_one(model: str, activation: str, precision: str) -> None:
    """Two roundings of the same numbers differ from float64 alike, up to a factor that chance gives.

    A loss is one number, whose error may be near 0 by luck: it is held against the rounding of its format.
    Weights are held as a whole: the root of the summed squares of their errors.
    """
    config = config_of(model, activation)
    engine = Engine(torch.device("cpu"), precision, deterministic=False)
    exact = Engine(torch.device("cpu"), "float32", deterministic=False)
    ways: dict[str, Callable[[], Any]] = {
        "exact": lambda: (build_network(config, 10).double(), config, exact, torch.float64),
        "plain": lambda: (build_network(config, 10), config, engine, torch.float32),
        "fast": lambda: (engine.place(build_network(config, 10)), config, engine, torch.float32),
    }
    rounding = {"float32": 2.0**-24, "bfloat16": 2.0**-9}[precision]
    for steps, factor in ((1, 2), (10, 4)):
        runs = {name: train(*way(), steps) for name, way in ways.items()}
        (losses, weights) = runs["exact"]
        error = {name: (runs[name][1] - weights).norm() for name in ("plain", "fast")}
        assert error["fast"] <= factor * error["plain"], steps
        # The first loss is a sum over some 20 layers, each of which rounds.
        assert runs["fast"][0][0] == pytest.approx(losses[0], rel=20 * rounding)
        plain, fast = (max(abs(a - b) for a, b in zip(runs[n][0], losses, strict=True)) for n in error)
        assert fast <= factor * plain + 20 * rounding * losses[0]
