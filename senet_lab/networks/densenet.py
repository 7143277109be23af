"""DenseNet-BC (Huang et al., CVPR 2017, arXiv 1608.06993)."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from senet_lab.networks.squeeze_excite import NO_SE, Placement
from senet_lab.networks.unit import (
    ActLayer,
    Conv,
    ResidualUnit,
    Trunk,
    concat,
    conv2d,
    linear_classifier,
    norm_act_conv,
)


def transition(channels: int, out: int, act_layer: ActLayer) -> nn.Sequential:
    """Make the transition between two dense blocks: norm, activation, 1×1 convolution, average pool."""
    layers = norm_act_conv(channels, [Conv(out, 1)], act_layer)
    layers.add_module("pool", nn.AvgPool2d(2))
    return layers


class DenseNet(Trunk):
    """Dense blocks of bottleneck layers, each of which concatenates ``growth_rate`` channels to its input.

    The form for small images: a 3×3 stem without norm or pool, ``2 * growth_rate`` wide.

    Args:
        num_classes: number of logits.
        act_layer: the activation under test, at every non-linearity.
        depths: layers in each dense block.
        growth_rate: k; a bottleneck is 4k wide.
        compression: share of the channels that a transition keeps.
        se: placement of SE; the dense blocks are stages 2, 3, …; "standard" gates the new channels, "post"
            all channels.
    """

    def __init__(
        self,
        num_classes: int,
        act_layer: ActLayer,
        depths: Sequence[int],
        growth_rate: int = 32,
        compression: float = 0.5,
        se: Placement = NO_SE,
    ) -> None:
        se.check(range(2, 2 + len(depths)))

        def unit(stage: int, channels: int) -> ResidualUnit:
            out = channels + growth_rate
            widths = {"pre": channels, "standard": growth_rate, "identity": channels, "post": out}
            bottleneck = [Conv(4 * growth_rate, 1), Conv(growth_rate, 3)]
            return ResidualUnit(
                norm_act_conv(channels, bottleneck, act_layer),
                combine=concat,
                slots=se.slots(stage, widths, act_layer),
            )

        channels = 2 * growth_rate
        stem = conv2d(3, Conv(channels, 3))
        stages = []
        for stage, depth in enumerate(depths, start=2):
            block = nn.Sequential(*(unit(stage, channels + i * growth_rate) for i in range(depth)))
            channels += depth * growth_rate
            if stage < 1 + len(depths):
                out = int(compression * channels)
                block.add_module("transition", transition(channels, out, act_layer))
                channels = out
            stages.append(block)
        norm_act = OrderedDict(norm=nn.BatchNorm2d(channels), act=act_layer(channels))
        super().__init__(stem, stages, nn.Sequential(norm_act), linear_classifier(channels, num_classes))
