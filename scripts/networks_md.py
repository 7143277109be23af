"""Write docs/networks.md: every network with its counts, the published ones beside them."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from senet_lab.build import build_network
from senet_lab.compose import Point, compose_command, options
from senet_lab.config import RunConfig
from senet_lab.networks.summary import Summary, summarise

FILE = Path(__file__).parent.parent / "docs" / "networks.md"
CIFAR = {"num_classes": 10, "image_size": 32}
TIMM = ("seresnet50", "seresnext50_32x4d", "seresnext101_32x4d")

# Hu et al., arXiv 1709.01507, section 6: millions of parameters of SE-ResNet-50 at 1000 classes.
ABLATIONS = {
    ("se=none,reduction/2,reduction/4,reduction/8,standard,reduction/32",): (
        25.6,
        45.7,
        35.7,
        30.7,
        28.1,
        26.9,
    ),
    ("se=standard", "se.stages=[2],[3],[4]"): (25.6, 25.7, 26.4),
    ("se=none,standard", "model.stride_at=1"): ("", ""),
}

CONDCONV = ("model=condconv_mobilenetv2", "se=none,condconv", "model.experts=1,4")

TEXT = """# Networks

Written by `python scripts/networks_md.py`; a test writes it again and compares. Parameters and
multiply-accumulates (MACs) are of the network with ReLU, for one image; MACs count convolutions and matrix
products. `senet-lab summary model=… num_classes=… image_size=…` gives the same numbers, `operations=true` and
`layers=true` their parts.

## Every network, and what was published

Small: 10 classes at 32 pixels. As published: at the classes and the image size of the published figure.

{networks}

- DenseNet-121, MobileNetV2 and SENet-18: the published figures are those of the ImageNet forms (SENet-18's is
  ResNet-50's); ours are the forms for small images.
- EfficientNet: parameters and MACs equal torchvision's. The paper rounds; its FLOPs are up to 5 % off ours.

## SE in ResNet-50, 1000 classes at 224 pixels

Published: Hu et al., arXiv 1709.01507v4, sections 5 and 6. In section 6 SE's layers have no bias; ours have
one, as most code has: 16,048 parameters at r = 16. The paper's form has the stride in the first 1×1
convolution of a unit (`model.stride_at=0`); most code today has it in the 3×3 (`model.stride_at=1`). Three
published counts are 0.1 more than ours rounded: r = 4, 8 and 32. The published 3.87 GFLOPs with SE are 3.86
of ours, which count layers with weights alone.

{ablations}

## SE and CondConv, 100 classes at 56 pixels

The networks of `experiment=se_condconv`; `senet-lab summary model=condconv_mobilenetv2 num_classes=100
image_size=56 operations=true` prints the rows of one, unit by unit.

{condconv}

- The published total without SE, 193,770,304 MACs, is ours of stem, units and head. The published table
  counts 0 for the linear layer, we count its 1280 · 100 = 128,000.
- Coefficients in our rows include scale and shift of the norms.
- Four experts hold four sets of weights for every convolution of a unit. Their MACs add one for each
  coefficient of all sets (mixing them for an image) and one for each weight of the routing (Yang et al.,
  arXiv 1904.04971).
- SE adds its two layers. Pools, gates, norms and activations count nothing anywhere.

## Through timm

SE in ResNeXt is `model=timm model.name=seresnext50_32x4d`; timm has no SE-Inception and no ShuffleNet. Counts
with the activation under test at every site, 1000 classes at 224 pixels.

{timm}
"""


def compose(*overrides: str) -> list[Point]:
    """The points of a sweep; those that share a composition cost one."""
    return compose_command("train", overrides, multirun=True).points


def count(config: RunConfig, num_classes: int, image_size: int) -> Summary:
    """Parameters and MACs of a network with ReLU."""
    with torch.device("meta"):
        network = build_network(config, num_classes, act_layer=lambda _: nn.ReLU())
    return summarise(network, image_size)


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


def document() -> str:
    """The whole page."""
    models = [model for model in options("model") if model != "timm"]
    networks = [network_row(point.config) for point in compose(f"model={','.join(models)}")]
    ablations = []
    for overrides, published in ABLATIONS.items():
        for point, millions in zip(compose("model=resnet50", *overrides), published, strict=True):
            ablations.append([*row(" ".join(point.overrides[1:]), point.config), str(millions)])
    condconv = [
        row(" ".join(point.overrides[1:]), point.config, num_classes=100, image_size=56)
        for point in compose(*CONDCONV)
    ]
    timm = [
        row(point.config.model["name"], point.config)
        for point in compose("model=timm", f"model.name={','.join(TIMM)}")
    ]
    header = ["", "parameters, small", "MACs, small", "parameters, as published", "MACs, as published"]
    return TEXT.format(
        networks=table([*header, "published parameters", "published MACs", "source"], networks),
        ablations=table(["", "parameters", "MACs", "published, M"], ablations),
        condconv=table(["", "parameters", "MACs"], condconv),
        timm=table(["", "parameters", "MACs"], timm),
    )


if __name__ == "__main__":
    FILE.write_text(document(), "utf-8")
