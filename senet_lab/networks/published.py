"""The networks of the published comparison, quirks included.

Source: the public repository GSPuniani/MBG-Activation-Functions. Each class lists its deviations from the
standard network. Sites that share an activation instance share the coefficients of TAct and mTAct.
"""

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial

import torch
from torch import nn

from senet_lab.errors import UsageError
from senet_lab.networks import densenet
from senet_lab.networks.activations import as_site, coefficients
from senet_lab.networks.mobilenetv2 import inverted_residual
from senet_lab.networks.resnet import projection
from senet_lab.networks.squeeze_excite import Placement
from senet_lab.networks.unit import (
    ActLayer,
    Conv,
    ResidualUnit,
    Trunk,
    branch_alone,
    conv2d,
    conv_norm_act,
    linear_classifier,
    stage_of,
)


def shared(act: nn.Module) -> ActLayer:
    """A factory that returns the same instance ``act`` for every site, whatever its width."""
    if any(value.ndim for value in coefficients(act).values()):
        raise UsageError(
            f"model=published/…: sites of several widths share one {type(act).__name__}, so it can have no"
            " coefficients per channel: set activation.per_channel=false if it has that key"
        )
    return lambda _: act


class DenseNet(densenet.DenseNet):
    """DenseNet with ReLU in all bottlenecks, no activation in the transitions, and always 100 logits.

    The activation under test is therefore at one site only, before the last pool.
    """

    def __init__(self, num_classes: int, act_layer: ActLayer, depths: Sequence[int]) -> None:
        if num_classes > 100:
            raise UsageError(f"published/densenet121 has 100 logits, too few for {num_classes} classes")
        super().__init__(100, lambda _: nn.ReLU(), depths)
        for stage in range(len(depths) - 1):
            self.set_submodule(f"stages.{stage}.transition.act1", nn.Identity())
        channels = self.get_parameter("head.norm.weight").numel()
        self.set_submodule("head.act", act_layer(channels))


class MobileNetV2(Trunk):
    """MobileNetV2 with a padded 1×1 stem, an expansion in every unit, and biases in all convolutions.

    Stem and head share one activation instance, the two sites of a unit another; ReLU is ReLU6. The
    classifier is a 1×1 convolution.
    """

    def __init__(self, num_classes: int, act_layer: ActLayer, stages: Sequence[Sequence[int]]) -> None:
        def one_act(channels: int) -> ActLayer:
            act = act_layer(channels)
            return shared(as_site(nn.ReLU6()) if type(act) is nn.ReLU else act)

        def unit(expansion: int, channels: int, out: int, stride: int) -> ResidualUnit:
            convs = inverted_residual(channels, expansion, out, stride)
            return ResidualUnit(
                conv_norm_act(channels, convs, one_act(convs[0].channels), bias=True, last_act=False),
                combine=torch.add if stride == 1 and channels == out else branch_alone,
            )

        channels = 32
        outer = one_act(channels)
        stem = OrderedDict(
            conv1=nn.Conv2d(3, channels, 1, padding=1), norm1=nn.BatchNorm2d(channels), act1=outer(channels)
        )
        rows = []
        for expansion, out, depth, stride in stages:
            rows.append(stage_of(partial(unit, expansion), depth, channels, out, stride))
            channels = out
        head = conv_norm_act(channels, [Conv(1280, 1)], outer, bias=True)
        classifier = OrderedDict(
            pool=nn.AdaptiveAvgPool2d(1),
            conv=conv2d(1280, Conv(num_classes, 1), bias=True),
            flatten=nn.Flatten(),
        )
        super().__init__(nn.Sequential(stem), rows, head, nn.Sequential(classifier))


class SENet(Trunk):
    """SE-ResNet of basic blocks with an activation after both convolutions, and biases in all convolutions.

    All sites of a unit share one activation instance, including the hidden layer of its SE block. For TAct
    and mTAct this is an assumption: their scripts are not public.
    """

    def __init__(
        self, num_classes: int, act_layer: ActLayer, depths: Sequence[int], widths: Sequence[int]
    ) -> None:
        def unit(channels: int, out: int, stride: int) -> ResidualUnit:
            act = act_layer(out)
            one_act = shared(act)
            return ResidualUnit(
                conv_norm_act(channels, [Conv(out, 3, stride), Conv(out, 3)], one_act, bias=True),
                projection(channels, out, stride, bias=True),
                act=act,
                slots={"standard": Placement().block(out, one_act)},
            )

        channels = widths[0]
        stem = conv_norm_act(3, [Conv(channels, 3)], act_layer, bias=True)
        stages = []
        for i, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            stages.append(stage_of(unit, depth, channels, width, stride=1 if i == 0 else 2))
            channels = width
        super().__init__(stem, stages, nn.Identity(), linear_classifier(channels, num_classes))
