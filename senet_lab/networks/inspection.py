"""What a trained network does inside, as arrays: gates, weights by source layer, class activation maps."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from senet_lab.networks.densenet import DenseNet
from senet_lab.networks.squeeze_excite import SqueezeExcite
from senet_lab.networks.unit import Trunk


@contextmanager
def recorded(modules: dict[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """Collect the output of each module in the last forward pass, by name."""
    outputs: dict[str, Tensor] = {}

    def hook(name: str) -> torch.utils.hooks.RemovableHandle:
        def keep(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            outputs[name] = output

        return modules[name].register_forward_hook(keep)

    handles = [hook(name) for name in modules]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def excitations(
    network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], num_classes: int
) -> dict[str, Tensor]:
    """Mean gate of each SE block over the images of each class: block name to (classes, C).

    Hu et al., arXiv 1709.01507v4, section 7.2: the role of excitation. A class without an image has NaN.
    """
    gates = {
        name: module.gate for name, module in network.named_modules() if isinstance(module, SqueezeExcite)
    }
    sums: dict[str, Tensor] = {}
    counts = torch.zeros(num_classes)
    network.eval()
    with recorded(gates) as outputs:
        for images, labels in batches:
            network(images)
            one_hot = nn.functional.one_hot(labels, num_classes).float()  # (N, classes)
            counts += one_hot.sum(0).cpu()
            for name, gate in outputs.items():
                sums[name] = sums.get(name, 0) + (one_hot.T @ gate.float()).cpu()
    return {name: total / counts[:, None] for name, total in sums.items()}


def feature_reuse(network: DenseNet) -> list[Tensor]:
    """How much each layer of a dense block uses each earlier one: (sources, targets) for each block.

    An entry is the mean absolute weight from a source's channels to a target; source 0 is the block's input,
    and the last target is the transition, or the classifier after the last block. NaN where no weight is.
    Huang et al., arXiv 1608.06993, figure 5.
    """
    maps = []
    for stage in network.stages:
        layers = dict(stage.named_children())
        after = layers.pop("transition", None)
        units = list(layers.values())
        weights = [unit.get_parameter("branch.conv1.weight") for unit in units]
        target, name = (network.classifier, "fc.weight") if after is None else (after, "conv1.weight")
        weights.append(target.get_parameter(name))
        first = weights[0].shape[1]
        growth = weights[1].shape[1] - first
        use = torch.full((len(units) + 1, len(weights)), torch.nan)
        for column, values in enumerate(weights):
            by_channel = values.detach().abs().flatten(1).mean(0)  # a 1×1 convolution's, or a linear layer's
            sources = by_channel.split([first] + [growth] * column)
            use[: column + 1, column] = torch.stack([source.mean() for source in sources])
        maps.append(use)
    return maps


@torch.no_grad()
def class_activation_maps(network: Trunk, images: Tensor) -> tuple[Tensor, Tensor]:
    """Where the evidence for the predicted class lies: maps (N, H', W') and classes (N,).

    A map is the last feature map weighted by the classifier's row of that class. Zhou et al., CVPR 2016,
    arXiv 1512.04150.
    """
    network.eval()
    with recorded({"features": network.head}) as outputs:
        predicted = network(images).argmax(1)
    weight = next(p for p in network.classifier.parameters() if p.ndim > 1).flatten(1)  # (classes, C)
    return torch.einsum("nchw,nc->nhw", outputs["features"], weight[predicted]), predicted
