"""Squeeze-and-excitation (Hu et al., CVPR 2018, arXiv 1709.01507): the block, and its placement."""

import itertools
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from senet_lab.errors import UsageError
from senet_lab.networks.unit import ActLayer, choose


def average(x: Tensor) -> Tensor:
    """(N, C, H, W) to (N, C); the gradient is in channels_last if x is."""
    return x.flatten(2).transpose(1, 2).mean(1)


# (N, C, H, W) to (N, C)
SQUEEZES: dict[str, Callable[[Tensor], Tensor]] = {"avg": average, "max": partial(torch.amax, dim=(2, 3))}
GATES: dict[str, type[nn.Module]] = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU}
SLOTS = ("pre", "standard", "identity", "post")


class VectorConv2d(nn.Conv2d):
    """A convolution of vectors (N, C) as 1×1 maps, which uses its centre weights only."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """Map (N, C) to (N, out)."""
        return super().forward(input[:, :, None, None])[:, :, 0, 0]


def excitation(widths: Sequence[int], act_layer: ActLayer, kernel: int = 1) -> nn.Sequential:
    """Chain layers with bias through ``widths``, with an activation at each hidden width.

    Layers are fully connected; with ``kernel`` above 1, those between two hidden widths are convolutions.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    last = len(widths) - 1
    for i, (in_features, out_features) in enumerate(itertools.pairwise(widths), start=1):
        if kernel > 1 and 1 < i < last:
            layers[f"conv{i}"] = VectorConv2d(in_features, out_features, kernel, padding=kernel // 2)
        else:
            layers[f"fc{i}"] = nn.Linear(in_features, out_features)
        if i < last:
            layers[f"act{i}"] = act_layer(out_features)
    return nn.Sequential(layers)


class SqueezeExcite(nn.Module):
    """``x * gate(excite(squeeze(x)))``: one factor per channel of each image.

    Args:
        channels: C of the feature map (N, C, H, W).
        act_layer: the activation after each hidden layer.
        reduction: r; the unit of width is C/r, rounded down, at least 1.
        hidden: widths of the hidden layers in units of C/r: [1] is the paper's block.
        squeeze: "avg" or "max" over the pixels.
        gate: "sigmoid", "tanh" or "relu".
        kernel: kernel size of layers between two hidden widths: 1 is fully connected, 3 a convolution.
        base: number that replaces C in C/r; by default ``channels``.
    """

    def __init__(
        self,
        channels: int,
        act_layer: ActLayer,
        reduction: int,
        hidden: Sequence[int],
        squeeze: str,
        gate: str,
        kernel: int,
        base: int | None = None,
    ) -> None:
        super().__init__()
        unit = max(1, (base or channels) // reduction)
        self.squeeze = choose(SQUEEZES, squeeze, "se.squeeze")
        self.excite = excitation([channels, *(unit * width for width in hidden), channels], act_layer, kernel)
        self.gate = choose(GATES, gate, "se.gate")()

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        return x * self.gate(self.excite(self.squeeze(x)))[:, :, None, None]


class Placement:
    """Kind and position of SE blocks: the ``se`` argument of every network. By default, the paper's.

    Args:
        stages: the stages that carry SE, in the paper's numbering: conv2_x is 2. No SE is ``[]``.
        position: slot of the residual unit: "standard" after the branch, "pre" before it, "identity" on the
            shortcut, "post" after sum and activation (arXiv 1709.01507v4, figure 5); "depthwise" inside an
            inverted residual, after its depthwise convolution.
        reduction, hidden, squeeze, gate, kernel: see ``SqueezeExcite``.
        activation: activation of the hidden layers: "relu", or "trunk" for the activation under test.
        base: C of C/r: "slot", the gated channels, or "input", the channels that enter the unit.

    Raises:
        UsageError: any other value.
    """

    block: Callable[..., SqueezeExcite]
    """Maps width and activation to a block of this kind."""

    def __init__(
        self,
        stages: Sequence[int] = (2, 3, 4, 5),
        position: str = "standard",
        reduction: int = 16,
        hidden: Sequence[int] = (1,),
        squeeze: str = "avg",
        gate: str = "sigmoid",
        activation: str = "relu",
        kernel: int = 1,
        base: str = "slot",
    ) -> None:
        if reduction < 1 or any(width < 1 for width in hidden):
            raise UsageError(f"se.reduction={reduction}, se.hidden={list(hidden)}: must be at least 1")
        if kernel < 1 or kernel % 2 == 0:
            raise UsageError(f"se.kernel={kernel}: must be 1, 3 or another odd number")
        self.stages = tuple(stages)
        self.position = position
        self.activation = activation
        self.base = base
        self.block = partial(
            SqueezeExcite, reduction=reduction, hidden=hidden, squeeze=squeeze, gate=gate, kernel=kernel
        )

    def check(self, stages: Iterable[int], slots: Sequence[str] = SLOTS) -> None:
        """Raise ``UsageError`` for a stage or a slot that the network does not have."""
        there = list(stages)
        if not set(self.stages) <= set(there):
            raise UsageError(f"se.stages={list(self.stages)}: the network's stages are {there}")
        if self.position not in slots:
            raise UsageError(f"se.position={self.position}: the network's units have {', '.join(slots)}")

    def slots(self, stage: int, widths: Mapping[str, int], act_layer: ActLayer) -> dict[str, nn.Module]:
        """SE blocks for a residual unit in ``stage`` whose slots have these ``widths``, by slot."""
        if stage not in self.stages or self.position not in widths:
            return {}
        hidden_layers: dict[str, ActLayer] = {"relu": lambda _: nn.ReLU(), "trunk": act_layer}
        hidden = choose(hidden_layers, self.activation, "se.activation")
        channels = widths[self.position]
        base = choose({"slot": channels, "input": widths["pre"]}, self.base, "se.base")
        return {self.position: self.block(channels, hidden, base=base)}


NO_SE = Placement(stages=())
