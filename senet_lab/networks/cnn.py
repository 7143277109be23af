"""Three-layer CNN whose second convolution SE can replace (arXiv 2304.06502)."""

from collections.abc import Sequence

from torch import nn

from senet_lab.networks.squeeze_excite import NO_SE, Placement
from senet_lab.networks.unit import ActLayer, Conv, Trunk, conv_norm_act, linear_classifier


class ThreeLayerCNN(Trunk):
    """Three 3×3 convolutions, each with batch norm and activation; a max pool after the first and the third.

    Args:
        num_classes: number of logits.
        act_layer: the activation under test, after each convolution.
        widths: channels of the first two convolutions, and of the third.
        se: placement of SE; in stage 2 it replaces the second convolution, its norm and activation.
    """

    def __init__(
        self, num_classes: int, act_layer: ActLayer, widths: Sequence[int], se: Placement = NO_SE
    ) -> None:
        se.check(range(2, 6), ["standard"])
        narrow, wide = widths
        first = conv_norm_act(3, [Conv(narrow)], act_layer)
        third = conv_norm_act(narrow, [Conv(wide)], act_layer)
        for layer in (first, third):
            layer.add_module("pool", nn.MaxPool2d(2))
        slots = se.slots(2, {"pre": narrow, "standard": narrow}, act_layer)
        second = slots.get("standard") or conv_norm_act(narrow, [Conv(narrow)], act_layer)
        super().__init__(first, [second], third, linear_classifier(wide, num_classes))
