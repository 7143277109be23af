"""ShuffleNet (Zhang et al., CVPR 2018, arXiv 1707.01083)."""

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from senet_lab.networks.squeeze_excite import NO_SE, Placement
from senet_lab.networks.unit import (
    ActLayer,
    Conv,
    ResidualUnit,
    Trunk,
    concat,
    conv_norm_act,
    linear_classifier,
    stage_of,
)


class ChannelShuffle(nn.Module):
    """Reordering of channels that interleaves the groups, so that the next grouped convolution mixes them."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        return x.unflatten(1, (self.groups, -1)).transpose(1, 2).flatten(1, 2)


class ShuffleNet(Trunk):
    """Bottlenecks of two grouped 1×1 convolutions around a channel shuffle and a depthwise convolution.

    Args:
        num_classes: number of logits.
        act_layer: the activation under test, after the first convolution of a unit and after its sum.
        widths: output channels of the paper's stages 2, 3 and 4 (its table 1).
        depths: units of these stages; the first one halves the image and concatenates its input.
        groups: groups of the 1×1 convolutions; the very first has one group.
        stem_channels: channels of the 3×3 stem.
        stem_stride: 1 for small images; 2 in the paper, followed by a max pool.
        se: placement of SE: "standard", after the branch.
    """

    def __init__(
        self,
        num_classes: int,
        act_layer: ActLayer,
        widths: Sequence[int],
        depths: Sequence[int],
        groups: int,
        stem_channels: int = 24,
        stem_stride: int = 1,
        se: Placement = NO_SE,
    ) -> None:
        se.check(range(2, 6), ["standard"])

        def unit(stage: int, channels: int, out: int, stride: int) -> ResidualUnit:
            narrow, rest = out // 4, out - channels if stride == 2 else out
            first = Conv(narrow, 1, groups=1 if channels == stem_channels else groups)
            branch = OrderedDict(
                reduce=conv_norm_act(channels, [first], act_layer),
                shuffle=ChannelShuffle(groups),
                filter=conv_norm_act(narrow, [Conv(narrow, 3, stride, narrow)], act_layer, last_act=False),
                expand=conv_norm_act(narrow, [Conv(rest, 1, groups=groups)], act_layer, last_act=False),
            )
            return ResidualUnit(
                nn.Sequential(branch),
                nn.AvgPool2d(3, stride=2, padding=1) if stride == 2 else None,
                combine=concat if stride == 2 else torch.add,
                act=act_layer(out),
                slots=se.slots(stage, {"pre": channels, "standard": rest}, act_layer),
            )

        channels = stem_channels
        stem = conv_norm_act(3, [Conv(channels, 3, stem_stride)], act_layer)
        if stem_stride == 2:
            stem.add_module("pool", nn.MaxPool2d(3, stride=2, padding=1))
        stages = []
        for stage, (out, units) in enumerate(zip(widths, depths, strict=True), start=2):
            stages.append(stage_of(partial(unit, stage), units, channels, out, stride=2))
            channels = out
        super().__init__(stem, stages, nn.Identity(), linear_classifier(channels, num_classes))
