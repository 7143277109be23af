"""ResNet (He et al., CVPR 2016, arXiv 1512.03385) and, with squeeze-and-excitation, SENet."""

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial

from torch import nn

from senet_lab.networks.scaling import scale_depth, scale_width
from senet_lab.networks.squeeze_excite import NO_SE, Placement
from senet_lab.networks.unit import (
    ActLayer,
    Conv,
    ResidualUnit,
    Trunk,
    choose,
    conv2d,
    conv_norm_act,
    linear_classifier,
    stage_of,
)

# Convolutions of a branch: multiple of the stage's width, and kernel size.
BLOCKS = {"basic": ((1, 3), (1, 3)), "bottleneck": ((1, 1), (1, 3), (4, 1))}


def cifar_stem(channels: int, act_layer: ActLayer) -> nn.Module:
    """A 3×3 convolution at full resolution."""
    return conv_norm_act(3, [Conv(channels, 3)], act_layer)


def imagenet_stem(channels: int, act_layer: ActLayer) -> nn.Module:
    """The paper's 7×7 convolution and max pool: a quarter of the resolution."""
    stem = conv_norm_act(3, [Conv(channels, 7, stride=2)], act_layer)
    stem.add_module("pool", nn.MaxPool2d(3, stride=2, padding=1))
    return stem


STEMS = {"cifar": cifar_stem, "imagenet": imagenet_stem}


def projection(channels: int, out: int, stride: int, bias: bool = False) -> nn.Module:
    """Make a shortcut: the identity if the shape stays, otherwise a 1×1 convolution and norm."""
    if stride == 1 and channels == out:
        return nn.Identity()
    conv = conv2d(channels, Conv(out, 1, stride), bias)
    return nn.Sequential(OrderedDict(conv=conv, norm=nn.BatchNorm2d(out)))


class ResNet(Trunk):
    """Post-activation ResNet; its stages are the paper's conv2_x to conv5_x.

    Args:
        num_classes: number of logits.
        act_layer: the activation under test, at every non-linearity of the trunk.
        depths: residual units in each stage.
        block: "basic" or "bottleneck".
        stem: "cifar" or "imagenet".
        stride_at: index of the convolution with the stride. For the bottleneck, 0 is the paper's form; 1, the
            3×3 convolution, is the usual form today.
        widths: channels of each stage; a bottleneck's output is 4 times as wide.
        depth, width: factors of ``depths`` and of all channels (compound scaling).
        se: placement of SE.
    """

    def __init__(
        self,
        num_classes: int,
        act_layer: ActLayer,
        depths: Sequence[int],
        block: str = "basic",
        stem: str = "cifar",
        stride_at: int = 0,
        widths: Sequence[int] = (64, 128, 256, 512),
        depth: float = 1.0,
        width: float = 1.0,
        se: Placement = NO_SE,
    ) -> None:
        convs = choose(BLOCKS, block, "model.block")
        growth = convs[-1][0]  # output channels of a unit, in units of the stage's width
        se.check(range(2, 2 + len(depths)))

        def unit(stage: int, channels: int, out: int, stride: int) -> ResidualUnit:
            branch = [
                Conv(multiple * out // growth, kernel, stride if i == stride_at else 1)
                for i, (multiple, kernel) in enumerate(convs)
            ]
            widths = {"pre": channels, "standard": out, "identity": out, "post": out}
            return ResidualUnit(
                conv_norm_act(channels, branch, act_layer, last_act=False),
                projection(channels, out, stride),
                act=act_layer(out),
                slots=se.slots(stage, widths, act_layer),
            )

        depths = [scale_depth(units, depth) for units in depths]
        widths = [scale_width(channels, width) for channels in widths]
        channels = widths[0]
        first = choose(STEMS, stem, "model.stem")(channels, act_layer)
        stages = []
        for stage, (units, stage_width) in enumerate(zip(depths, widths, strict=True), start=2):
            out = growth * stage_width
            stages.append(stage_of(partial(unit, stage), units, channels, out, stride=1 if stage == 2 else 2))
            channels = out
        super().__init__(first, stages, nn.Identity(), linear_classifier(channels, num_classes))
