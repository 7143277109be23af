"""Write docs/networks.md: every network with its counts, the published ones beside them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from senet_lab.analysis.published import read_published
from senet_lab.build import build_network
from senet_lab.composition.command import Point, compose_command, options
from senet_lab.config import RunConfig, ScalingConfig
from senet_lab.networks.summary import Summary, summarise

FILE = Path(__file__).parent.parent / "docs" / "networks.md"
CIFAR = {"num_classes": 10, "image_size": 32}
TIMM = ("seresnet50", "seresnext50_32x4d", "seresnext101_32x4d")

# Hu et al., arXiv 1709.01507v4, table 2 and section 6: millions of parameters and GFLOPs at 1000 classes.
ABLATIONS = {
    ("model=resnet50", "se=none,reduction/2,reduction/4,reduction/8,standard,reduction/32"): (
        ("25.6", "3.86"), ("45.7", ""), ("35.7", ""), ("30.7", ""), ("28.1", "3.87"), ("26.9", ""),
    ),
    ("model=resnet50", "se=standard", "se.stages=[2],[3],[4],[2,3,4]"): (
        ("25.6", "3.86"), ("25.7", "3.86"), ("26.4", "3.86"), ("", ""),
    ),
    ("model=resnet50", "se=none,standard", "model.stride_at=1"): (("", ""), ("", "")),
    ("model=resnet101", "se=none,standard"): (("", "7.58"), ("", "7.60")),
}  # fmt: skip

# Hu et al., arXiv 1709.01507v4, table 3: millions of parameters.
MOBILENETV1 = (
    "model=mobilenetv1",
    "model.stem_stride=2",
    "model.stages=[[64,1,1],[128,2,2],[256,2,2],[512,6,2],[1024,2,2]]",
)
SHUFFLENET = ("model=shufflenet", "model.stem_stride=2")
MOBILE = {MOBILENETV1: ("4.2", "4.7"), SHUFFLENET: ("1.8", "2.4")}

CONDCONV = ("model=condconv_mobilenetv2", "se=none,condconv", "model.experts=1,4")

TEXT = """# Networks

Written by `python scripts/networks_md.py`; a test checks that it is current. Parameters and
multiply-accumulates (MACs) are those of the network with ReLU, for one image; MACs count convolutions and
matrix products. `senet-lab summary model=… num_classes=… image_size=…` gives the same numbers, with
`operations=true` by unit and with `layers=true` by layer.

## All networks and their published counts

Small: 10 classes at 32 pixels. As published: the classes and the image size of the published count.

{networks}

- MobileNetV2 and SENet-18: the published counts are those of the ImageNet forms (SENet-18's is ResNet-50's),
  ours those of the forms for small images. DenseNet-121's 7.0 M is the count of our form; the ImageNet form
  with 1000 classes has 7,978,856.
- EfficientNet: parameters and MACs equal torchvision's. The paper rounds; its FLOPs are up to 5 % off ours.

## SE in ResNet-50, 1000 classes at 224 pixels

Published: Hu et al., arXiv 1709.01507v4, table 2 and section 6; their GFLOPs are multiply-accumulates. The
paper's form has the stride in the first 1×1 convolution of a unit (`model.stride_at=0`); most code today has
it in the 3×3 (`model.stride_at=1`).

- Parameters: both of SE's layers have a bias here, as in most code. Three published counts (r = 4, 8 and 32)
  are 0.1 above our rounded ones. The column "as the paper counts" includes the running mean and variance of
  the norms, and a bias on SE's second layer only: it matches all nine published rows. Section 6 says that
  SE's layers have no bias; that would give 30.6 at r = 8, and a bias on both layers 45.8 at r = 2.
- GFLOPs: ours count only layers with weights. SE's product takes one more multiplication per scaled value,
  5.5 million in all: 3.866 with them, the published 3.87. ResNet-101's 7.58 and 7.60 are 7.57 here.
- SE in stages 2, 3 and 4 has no published row; the paper says that omitting SE in the last stage costs less
  than 0.1 points of top-5 error. It saves 1.6 of SE's 2.5 M parameters.

{ablations}

## SE in MobileNet and ShuffleNet, 1000 classes at 224 pixels

Published: Hu et al., arXiv 1709.01507v4, table 3. Its ShuffleNet counts are truncated, not rounded: ours are
1.87 and 2.48 M. SE follows each unit of MobileNet, and the branch of each unit of ShuffleNet.

{mobile}

## SE and CondConv, 100 classes at 56 pixels

The networks of `experiment=se_condconv`; `senet-lab summary model=condconv_mobilenetv2 num_classes=100
image_size=56 operations=true` prints one of them unit by unit.

{condconv}

- The published total without SE, 193,770,304 MACs, equals ours of stem, units and head. The published table
  counts 0 for the linear layer, we count its 1280 · 100 = 128,000.
- Parameters in our rows include scale and shift of the norms; `norms=false` omits them, as the published
  column does. That column repeats a value in its third row, so each later row has the count of the row above,
  and the linear layer's 1280 · 100 = 128,000 is missing (ours adds a bias of 100).
- The recipe of the experiment is the comparison's as far as it is known: 55 epochs at 0.0002, warm-up and
  cosine decay. The comparison's loss curves and training times have no public source known to us, so they
  are left out; the experiment's own figures show the error, both losses and the seconds per epoch.
- Four experts have four sets of weights for every convolution of a unit. Their MACs include one per weight of
  all sets (mixing them for an image) and one per weight of the routing (Yang et al., arXiv 1904.04971).
- SE adds its two layers. Pools, gates, norms and activations are not counted.

## SE variations, CIFAR and SVHN

The networks of `experiment=se_variations_resnet18` and `se_variations_cnn3` (arXiv 2304.06502). The six
published rows for SVHN and the published losses have no source in which we could check them, so they are left
out. The first experiment trains ResNet-18 on SVHN as well, the second does with `dataset=svhn`, and
`figures.metric=[test_error,test_loss]` draws the losses.

## Compound scaling, 1000 classes at 224 pixels and more

The networks of `experiment=scaling_dimensions`: EfficientNet-B0 with depth, width or image size scaled, or
all three; published in Tan and Le, arXiv 1905.11946v5, table 7. `senet-lab summary scaling.phi=1` prints
α·β²·γ², which the paper keeps near 2 per step of φ.

{scaling}

The published counts for one dimension are above the four times 0.39 G that the factors imply; ours are up to
19 % lower.

## Through timm

SE in ResNeXt is `model=timm model.name=seresnext50_32x4d`. SE after the Inception modules of Inception-v3,
and at the end of the branches of Inception-ResNet-v2, is `se=standard` with a pattern for these modules, see
`conf/model/timm.yaml`: 25,496,188 parameters instead of 23,834,568, and 64,387,444 instead of 55,843,464. The
published SE-Inception is based on BN-Inception, which neither timm nor torchvision has; we know no published
count of SE-Inception-ResNet-v2. Counts with the activation under test at every site, 1000 classes at 224
pixels.

{timm}
"""


def compose(*overrides: str) -> list[Point]:
    """The points of a sweep; those that share a composition cost one."""
    return compose_command("train", overrides, multirun=True).points


def build(config: RunConfig, num_classes: int) -> nn.Module:
    """A network with ReLU as far as it is counted: ReLU counts nothing, and without it counting is faster."""
    with torch.device("meta"):
        return build_network(config, num_classes, act_layer=lambda _: nn.Identity())


def count(config: RunConfig, num_classes: int, image_size: int) -> Summary:
    """Parameters and MACs of a network."""
    return summarise(build(config, num_classes), image_size)


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table, its first column text and the others numbers."""
    lines = [header, ["---", *["---:"] * (len(header) - 2), "---"], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def network_row(config: RunConfig) -> list[str]:
    """The counts of one network beside the published ones."""
    reference: dict[str, Any] = config.model.get("reference") or {}
    small = count(config, **CIFAR)
    cells = [f"`{config.model['name']}`", f"{small.parameters:,}", f"{small.macs:,}"]
    if "image_size" in reference:
        there = count(config, reference["num_classes"], reference["image_size"])
        cells += [f"{there.parameters:,}", f"{there.macs:,}"]
    else:
        cells += ["", ""]
    parameters, macs = reference.get("parameters"), reference.get("macs")
    cells.append(f"{parameters / 1e6:.1f} M" if parameters else "")
    cells.append("" if not macs else f"{macs:,}" if macs % 1_000_000 else f"{macs / 1e9:.2f} G")
    return [*cells, reference.get("source", "")]


def row(label: str, config: RunConfig, num_classes: int = 1000, image_size: int = 224) -> list[str]:
    """The counts of one network."""
    ours = count(config, num_classes, image_size)
    return [f"`{label}`", f"{ours.parameters:,}", f"{ours.macs:,}"]


def as_paper_counts(network: nn.Module) -> str:
    """Parameters and running statistics of the norms, without the bias of SE's first layers."""
    statistics = [
        buffer.numel()
        for name, buffer in network.named_buffers()
        if name.rpartition(".")[2] != "num_batches_tracked"
    ]
    parameters = [
        parameter.numel()
        for name, parameter in network.named_parameters()
        if not name.endswith("excite.fc1.bias")
    ]
    return f"{sum(statistics) + sum(parameters):,}"


def scaling_rows() -> Iterator[tuple[ScalingConfig, list[str], int]]:
    """The factors, our counts and the published multiply-accumulates of `experiment=scaling_dimensions`."""
    rows = read_published("scaling_dimensions")[0].ends
    published = [row["macs"] for row in rows if row["model.name"] == "efficientnet_b0"]
    points = compose_command("train", ["experiment=scaling_dimensions"]).points
    for point, macs in zip(points, published, strict=True):
        scaling = point.config.scaling
        yield scaling, row("", point.config, image_size=round(224 * scaling.resolution)), macs


def document() -> str:
    """The whole page."""
    models = [model for model in options("model") if model != "timm"]
    networks = [network_row(point.config) for point in compose(f"model={','.join(models)}")]
    ablations = []
    for overrides, published in ABLATIONS.items():
        for point, (millions, gflops) in zip(compose(*overrides), published, strict=True):
            label = " ".join(point.overrides).removeprefix("model=resnet50 ")
            network = build(point.config, 1000)
            ours = summarise(network, 224)
            counts = [f"{ours.parameters:,}", as_paper_counts(network), millions, f"{ours.macs:,}", gflops]
            ablations.append([f"`{label}`", *counts])
    mobile = []
    for overrides, printed in MOBILE.items():
        for point, millions in zip(compose(*overrides, "se=none,standard"), printed, strict=True):
            name, se = point.config.model["name"], point.config.se["name"]
            label, parameters, macs = row(f"{name} se={se}", point.config)
            mobile.append([label, parameters, millions, macs])
    condconv = [
        row(" ".join(point.overrides[1:]), point.config, num_classes=100, image_size=56)
        for point in compose(*CONDCONV)
    ]
    scaling = [
        [
            f"depth {one.depth:g}, width {one.width:g}, image {one.resolution:g}",
            *counts[1:],
            f"{published / 1e9} G",
        ]
        for one, counts, published in scaling_rows()
    ]
    timm = [
        row(point.config.model["name"], point.config)
        for point in compose("model=timm", f"model.name={','.join(TIMM)}")
    ]
    header = ["", "parameters, small", "MACs, small", "parameters, as published", "MACs, as published"]
    return TEXT.format(
        networks=table([*header, "published parameters", "published MACs", "source"], networks),
        ablations=table(
            ["", "parameters", "as the paper counts", "published, M", "MACs", "published, G"], ablations
        ),
        mobile=table(["", "parameters", "published, M", "MACs"], mobile),
        condconv=table(["", "parameters", "MACs"], condconv),
        scaling=table(["", "parameters", "MACs", "published"], scaling),
        timm=table(["", "parameters", "MACs"], timm),
    )


if __name__ == "__main__":
    FILE.write_text(document(), "utf-8")
