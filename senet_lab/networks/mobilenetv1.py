"""MobileNet (Howard et al., arXiv 1704.04861), the predecessor of MobileNetV2."""

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
    branch_alone,
    conv_norm_act,
    linear_classifier,
    stage_of,
)


class MobileNetV1(Trunk):
    """Depthwise separable convolutions: a 3×3 depthwise convolution, then a 1×1 convolution.

    Args:
        num_classes: number of logits.
        act_layer: the activation under test, after each convolution.
        stages: rows of the paper's table 1, one per width: output channels, units, stride of the first unit.
        stem_channels: channels of the 3×3 stem.
        stem_stride: 1 for small images, 2 in the paper.
        depth, width: factors of the units of each row and of all channels (compound scaling).
        se: placement of SE, "standard" after a unit or "pre" before it; the first two rows are stage 2, the
            others stages 3, 4 and 5.
    """

    def __init__(
        self,
        num_classes: int,
        act_layer: ActLayer,
        stages: Sequence[tuple[int, int, int]],
        stem_channels: int = 32,
        stem_stride: int = 1,
        depth: float = 1.0,
        width: float = 1.0,
        se: Placement = NO_SE,
    ) -> None:
        se.check(range(2, 6), ["pre", "standard"])

        def unit(stage: int, channels: int, out: int, stride: int) -> ResidualUnit:
            convs = [Conv(channels, 3, stride, groups=channels), Conv(out, 1)]
            slots = se.slots(stage, {"pre": channels, "standard": out}, act_layer)
            return ResidualUnit(conv_norm_act(channels, convs, act_layer), combine=branch_alone, slots=slots)

        channels = scale_width(stem_channels, width)
        stem = conv_norm_act(3, [Conv(channels, 3, stem_stride)], act_layer)
        rows = []
        for number, (row_channels, units, stride) in enumerate(stages, start=1):
            out = scale_width(row_channels, width)
            row_unit = partial(unit, max(2, number))
            rows.append(stage_of(row_unit, scale_depth(units, depth), channels, out, stride))
            channels = out
        classifier = linear_classifier(channels, num_classes)
        super().__init__(stem, rows, nn.Identity(), classifier)
