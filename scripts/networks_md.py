"""Write docs/networks.md: every network with its counts, the published ones beside them."""

from pathlib import Path
from typing import Any

import torch

from senet_lab.build import build_network
from senet_lab.compose import compose_command, options
from senet_lab.networks.summary import Summary, summarise

FILE = Path(__file__).parent.parent / "docs" / "networks.md"
CIFAR = {"num_classes": 10, "image_size": 32}
TIMM = ("seresnet50", "seresnext50_32x4d", "seresnext101_32x4d")

# Hu et al., arXiv 1709.01507: millions of parameters of SE-ResNet-50 at 1000 classes.
ABLATIONS = {
    "se=none": "25.6",
    "se=reduction/2": "45.7",
    "se=reduction/4": "35.7",
    "se=reduction/8": "30.7",
    "se=standard": "28.1",
    "se=reduction/32": "26.9",
    "se=standard se.stages=[2]": "25.6",
    "se=standard se.stages=[3]": "25.7",
    "se=standard se.stages=[4]": "26.4",
    "se=none model.stride_at=1": "",
    "se=standard model.stride_at=1": "",
}

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
- `condconv_mobilenetv2`: the published table counts 0 for the linear layer, so stem, units and head are
  compared: 193,770,304 MACs, and 128,000 more with the linear layer.

## SE in ResNet-50, 1000 classes at 224 pixels

Published: Hu et al., arXiv 1709.01507, sections 5 and 6. The paper's form has the stride in the first 1×1
convolution of a unit (`model.stride_at=0`); most code today has it in the 3×3 (`model.stride_at=1`). Three
published counts are 0.1 more than ours rounded: r = 4, 8 and 32. The published 3.87 GFLOPs with SE are 3.86
of ours, which count layers with weights alone.

{ablations}

## Through timm

SE in ResNeXt is `model=timm model.name=seresnext50_32x4d`; timm has no SE-Inception and no ShuffleNet. Counts
with the activation under test at every site, 1000 classes at 224 pixels.

{timm}
"""


def count(*overrides: str, num_classes: int, image_size: int) -> Summary:
    """Parameters and MACs of the network that `overrides` compose."""
    config = compose_command("train", overrides).points[0].config
    with torch.device("meta"):
        return summarise(build_network(config, num_classes), image_size)


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table, its first column text and the others numbers."""
    lines = [header, ["---", *["---:"] * (len(header) - 2), "---"], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def network_row(model: str) -> list[str]:
    """The counts of one network beside the published ones."""
    config = compose_command("train", [f"model={model}"]).points[0].config
    reference: dict[str, Any] = config["model"].get("reference") or {}
    small = count(f"model={model}", **CIFAR)
    row = [f"`{model}`", f"{small.parameters:,}", f"{small.macs:,}"]
    if "image_size" in reference:
        place = {key: reference[key] for key in ("num_classes", "image_size")}
        there = count(f"model={model}", **place)
        row += [f"{there.parameters:,}", f"{there.macs:,}"]
    else:
        row += ["", ""]
    parameters, macs = reference.get("parameters"), reference.get("macs")
    row.append(f"{parameters / 1e6:.1f} M" if parameters else "")
    row.append("" if not macs else f"{macs:,}" if macs % 1_000_000 else f"{macs / 1e9:.2f} G")
    return [*row, reference.get("source", "")]


def document() -> str:
    """The whole page."""
    networks = [network_row(model) for model in options("model") if model != "timm"]
    ablations = []
    for overrides, published in ABLATIONS.items():
        ours = count("model=resnet50", *overrides.split(), num_classes=1000, image_size=224)
        ablations.append([f"`{overrides}`", f"{ours.parameters:,}", f"{ours.macs:,}", published])
    timm = []
    for name in TIMM:
        ours = count("model=timm", f"model.name={name}", num_classes=1000, image_size=224)
        timm.append([f"`{name}`", f"{ours.parameters:,}", f"{ours.macs:,}"])
    header = ["", "parameters, small", "MACs, small", "parameters, as published", "MACs, as published"]
    return TEXT.format(
        networks=table([*header, "published parameters", "published MACs", "source"], networks),
        ablations=table(["", "parameters", "MACs", "published, M"], ablations),
        timm=table(["", "parameters", "MACs"], timm),
    )


if __name__ == "__main__":
    FILE.write_text(document(), "utf-8")
