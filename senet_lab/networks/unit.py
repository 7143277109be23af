"""Building blocks of networks: chains of convolution, norm and activation; the residual unit."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from senet_lab.errors import UsageError

T = TypeVar("T")
ActLayer = Callable[[int], nn.Module]  # from the width of a site to its activation


class Conv(NamedTuple):
    """One convolution, padded so that stride 1 keeps the size."""

    channels: int
    kernel: int = 3
    stride: int = 1
    groups: int = 1


ConvLayer = Callable[..., nn.Module]  # takes the arguments of nn.Conv2d


def conv2d(in_channels: int, conv: Conv, bias: bool = False, conv_layer: ConvLayer = nn.Conv2d) -> nn.Module:
    """Make the layer of ``conv``."""
    return conv_layer(
        in_channels,
        conv.channels,
        conv.kernel,
        stride=conv.stride,
        padding=conv.kernel // 2,
        groups=conv.groups,
        bias=bias,
    )


def conv_norm_act(
    in_channels: int,
    convs: Sequence[Conv],
    act_layer: ActLayer,
    bias: bool = False,
    last_act: bool = True,
    conv_layer: ConvLayer = nn.Conv2d,
    before_last: nn.Module | None = None,
) -> nn.Sequential:
    """Chain convolution, batch norm and activation; without ``last_act``, end with a norm.

    ``before_last`` is inserted before the last convolution.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i, conv in enumerate(convs, start=1):
        if before_last is not None and i == len(convs):
            layers["se"] = before_last
        layers[f"conv{i}"] = conv2d(in_channels, conv, bias, conv_layer)
        layers[f"norm{i}"] = nn.BatchNorm2d(conv.channels)
        if last_act or i < len(convs):
            layers[f"act{i}"] = act_layer(conv.channels)
        in_channels = conv.channels
    return nn.Sequential(layers)


def norm_act_conv(in_channels: int, convs: Sequence[Conv], act_layer: ActLayer) -> nn.Sequential:
    """Chain batch norm, activation and convolution: the pre-activation order."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i, conv in enumerate(convs, start=1):
        layers[f"norm{i}"] = nn.BatchNorm2d(in_channels)
        layers[f"act{i}"] = act_layer(in_channels)
        layers[f"conv{i}"] = conv2d(in_channels, conv)
        in_channels = conv.channels
    return nn.Sequential(layers)


def concat(branch: Tensor, shortcut: Tensor) -> Tensor:
    """Concatenate input and branch along the channels, as in DenseNet."""
    return torch.cat((shortcut, branch), dim=1)


def branch_alone(branch: Tensor, _shortcut: Tensor) -> Tensor:
    """Return the branch without the shortcut, for units without a skip."""
    return branch


class ResidualUnit(nn.Module):
    """``post(act(combine(standard(branch(pre(x))), identity(shortcut(x)))))``.

    Args:
        branch: the learned layers.
        shortcut: the path around them; by default the identity.
        combine: joins (branch, shortcut): ``torch.add``, ``concat`` or ``branch_alone``.
        act: the activation after the sum, if any.
        slots: modules at "pre", "standard", "identity", "post" (Hu et al., arXiv 1709.01507v4, figure 5).
    """

    def __init__(
        self,
        branch: nn.Module,
        shortcut: nn.Module | None = None,
        combine: Callable[[Tensor, Tensor], Tensor] = torch.add,
        act: nn.Module | None = None,
        slots: Mapping[str, nn.Module] | None = None,
    ) -> None:
        super().__init__()
        slots = slots or {}
        self.pre = slots.get("pre", nn.Identity())
        self.branch = branch
        self.standard = slots.get("standard", nn.Identity())
        self.shortcut = shortcut or nn.Identity()
        self.identity = slots.get("identity", nn.Identity())
        self.combine = combine
        self.act = act or nn.Identity()
        self.post = slots.get("post", nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the combination of branch and shortcut."""
        branch = self.standard(self.branch(self.pre(x)))
        return self.post(self.act(self.combine(branch, self.identity(self.shortcut(x)))))


class Trunk(nn.Module):
    """Base class of networks: stem, stages, head, classifier.

    Args:
        stem, stages, head: (N, 3, H, W) images to the last feature map, (N, C, H', W').
        classifier: feature map to logits (N, classes).
    """

    def __init__(
        self, stem: nn.Module, stages: Iterable[nn.Module], head: nn.Module, classifier: nn.Module
    ) -> None:
        super().__init__()
        self.stem = stem
        self.stages = nn.Sequential(*stages)
        self.head = head
        self.classifier = classifier

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of normalised images (N, 3, H, W)."""
        return self.classifier(self.head(self.stages(self.stem(x))))


def stage_of(
    unit: Callable[[int, int, int], nn.Module], depth: int, channels: int, out: int, stride: int
) -> nn.Sequential:
    """Chain ``depth`` units made by ``unit(channels, out, stride)``; the first changes width and size."""
    later = ((out, out, 1) for _ in range(depth - 1))
    return nn.Sequential(*(unit(*shape) for shape in ((channels, out, stride), *later)))


def linear_classifier(channels: int, num_classes: int, dropout: float = 0.0) -> nn.Sequential:
    """Global average pool, dropout if above 0, linear layer: (N, channels, H, W) to (N, num_classes)."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten())
    if dropout:
        layers["dropout"] = nn.Dropout(dropout)
    layers["fc"] = nn.Linear(channels, num_classes)
    return nn.Sequential(layers)


def choose(options: Mapping[str, T], name: str, what: str) -> T:
    """Look ``name`` up; raise ``UsageError`` with the existing names if it is unknown."""
    if name not in options:
        raise UsageError(f"unknown {what} {name!r}: choose one of {', '.join(options)}")
    return options[name]
