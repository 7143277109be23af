"""Formula, values and derivatives of every activation at its initial coefficients, for figures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np
import torch
from torch import nn

from senet_lab.composition.command import config_folder, options
from senet_lab.files import read_yaml
from senet_lab.networks.activations import coefficients

ActLayers = Callable[[Mapping[str, Any], int], Callable[[int], nn.Module]]
"""Maps a config node and a seed to a factory that takes the width of a site: `build.build_act_layer`."""


@dataclass(frozen=True)
class Portrait:
    """One option of `conf/activation` at its initial values."""

    name: str
    """The name in `activation=<name>`."""
    label: str
    formula: str
    source: str
    learned: tuple[str, ...]
    """Names of its coefficients."""
    per_channel: bool
    """Whether a coefficient has a value for each channel."""
    y: np.ndarray
    """f(x), float64 (n,)."""
    slope: np.ndarray
    """f′(x), float64 (n,)."""


def gallery(x: np.ndarray, act_layers: ActLayers) -> list[Portrait]:
    """The portraits of all options, in alphabetical order of their names.

    Random initial values are those of the first site with seed 0. Meta-ACON is shown on constant maps of one
    channel.

    Args:
        x: points of evaluation, (n,).
        act_layers: `build.build_act_layer`.
    """
    return [_portrait(name, x, act_layers) for name in options("activation")]


def curve(act: nn.Module, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """f(x) and f′(x), float64 (n,), of an activation for one channel; leaves it in float64 and eval mode."""
    given = torch.from_numpy(x).double().view(-1, 1, 1, 1).requires_grad_()
    y = act.double().eval()(given)
    (slope,) = torch.autograd.grad(y.sum(), given)
    return y.detach().flatten().numpy(), slope.flatten().numpy()


def formula_and_source(name: str) -> tuple[str, str]:
    """The first two lines of an option's head comment, without their full stops."""
    text = (config_folder() / "activation" / f"{name}.yaml").read_text("utf-8")
    head = [
        line.lstrip("# ").rstrip(".") for line in takewhile(lambda line: line[:1] == "#", text.splitlines())
    ]
    formula, source, *_ = [*head, "", ""]
    return formula, source


def _portrait(name: str, x: np.ndarray, act_layers: ActLayers) -> Portrait:
    node = read_yaml(config_folder() / "activation" / f"{name}.yaml")
    act = act_layers(node, 0)(1)
    learned = coefficients(act)
    per_channel = any(value.ndim for value in learned.values())
    return Portrait(
        name, node["label"], *formula_and_source(name), tuple(learned), per_channel, *curve(act, x)
    )
