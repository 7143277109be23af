"""MobileNetV2 (Sandler et al., CVPR 2018, arXiv 1801.04381)."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import nn

from senet_lab.errors import UsageError
from senet_lab.networks.cond_conv import CondConv2d
from senet_lab.networks.scaling import scale_depth, scale_width
from senet_lab.networks.squeeze_excite import NO_SE, SLOTS, Placement
from senet_lab.networks.unit import (
    ActLayer,
    Conv,
    ResidualUnit,
    Trunk,
    branch_alone,
    conv_norm_act,
    linear_classifier,
    stage_of,
)


def inverted_residual(channels: int, expansion: int, out: int, stride: int, kernel: int = 3) -> list[Conv]:
    """Convolutions of an inverted residual: expansion, depthwise convolution, projection."""
    wide = expansion * channels
    return [Conv(wide, 1), Conv(wide, kernel, stride, groups=wide), Conv(out, 1)]


class MobileNetV2(Trunk):
    """Inverted residuals with linear bottlenecks; a unit has a skip where stride is 1 and the width stays.

    EfficientNet (Tan and Le, ICML 2019, arXiv 1905.11946) has the same form with other rows and with SE.

    Args:
        num_classes: number of logits.
        act_layer: the activation under test, at every non-linearity of the trunk.
        stages: rows of the paper's table 2: expansion, output channels, units, stride of the first unit, and
            the kernel of the depthwise convolutions if it is not 3.
        stem_channels: channels of the 3×3 stem.
        stem_stride: 1 for small images, 2 in the paper.
        head_channels: channels of the 1×1 convolution before the pool.
        depth, width: factors of the units of each row and of all channels (compound scaling).
        dropout: probability of dropout before the classifier.
        stochastic_depth: probability, per image in training, of dropping the last unit's branch; grows
            linearly from 0 at the first unit. Units without a skip are never dropped (Huang et al., ECCV
            2016, arXiv 1603.09382).
        experts: above 1, every convolution of a unit is a ``CondConv2d`` with this many experts.
        se: placement of SE; stages are counted by image size as in a ResNet: the first row is in stage 2, and
            each row with a stride begins the next one.

    Raises:
        UsageError: an SE stage or position that does not exist, a stochastic depth outside 0..1.
    """

    def __init__(
        self,
        num_classes: int,
        act_layer: ActLayer,
        stages: Sequence[Sequence[int]],
        stem_channels: int = 32,
        stem_stride: int = 1,
        head_channels: int = 1280,
        depth: float = 1.0,
        width: float = 1.0,
        dropout: float = 0.0,
        stochastic_depth: float = 0.0,
        experts: int = 1,
        se: Placement = NO_SE,
    ) -> None:
        if not 0 <= stochastic_depth < 1:
            raise UsageError(f"model.stochastic_depth={stochastic_depth}: must be 0 or more and less than 1")
        depths = [scale_depth(row[2], depth) for row in stages]
        build = _Units(act_layer, se, experts, stochastic_depth, sum(depths))
        channels, number = scale_width(stem_channels, width), 2
        stem = conv_norm_act(3, [Conv(channels, 3, stem_stride)], act_layer)
        rows = []
        for (expansion, row_channels, _, stride, *kernel), units in zip(stages, depths, strict=True):
            number += stride > 1
            row_unit = partial(build.unit, number, expansion, *kernel or (3,))
            out = scale_width(row_channels, width)
            rows.append(stage_of(row_unit, units, channels, out, stride))
            channels = out
        se.check(range(2, number + 1), [*SLOTS, "depthwise"])
        wide = scale_width(head_channels, width)
        head = conv_norm_act(channels, [Conv(wide, 1)], act_layer)
        super().__init__(stem, rows, head, linear_classifier(wide, num_classes, dropout))


class _Units:
    """Builder of a network's units; counts them for their stochastic depth.

    Args:
        act_layer: the activation under test.
        se: placement of SE.
        experts: number per convolution.
        stochastic_depth: drop probability of the last unit.
        count: number of units in the network.
    """

    def __init__(
        self, act_layer: ActLayer, se: Placement, experts: int, stochastic_depth: float, count: int
    ) -> None:
        self.act_layer = act_layer
        self.se = se
        self.conv_layer = partial(CondConv2d, experts=experts) if experts > 1 else nn.Conv2d
        self.drops = iter(stochastic_depth * index / count for index in range(count))

    def unit(
        self, number: int, expansion: int, kernel: int, channels: int, out: int, stride: int
    ) -> ResidualUnit:
        """The next unit: stage, expansion, kernel, input and output channels, stride."""
        convs = inverted_residual(channels, expansion, out, stride, kernel)
        if expansion == 1:
            convs = convs[1:]  # nothing to expand
        skip = stride == 1 and channels == out
        widths = {"pre": channels, "depthwise": expansion * channels, "standard": out, "post": out}
        slots = self.se.slots(number, widths | ({"identity": out} if skip else {}), self.act_layer)
        branch = conv_norm_act(
            channels,
            convs,
            self.act_layer,
            last_act=False,
            conv_layer=self.conv_layer,
            before_last=slots.pop("depthwise", None),
        )
        drop = next(self.drops)
        if skip and drop:
            from torchvision.ops import StochasticDepth  # slow to import and rarely needed

            branch.add_module("drop", StochasticDepth(drop, mode="row"))
        return ResidualUnit(branch, combine=torch.add if skip else branch_alone, slots=slots)
