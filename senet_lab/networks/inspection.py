"""Measurements inside a trained network: SE gates, weights by source layer, shapes, errors.

Each function returns the rows of a table, except class activation maps. Networks are left in evaluation mode.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import update_bn

from senet_lab.networks.activations import coefficients
from senet_lab.networks.densenet import DenseNet
from senet_lab.networks.gallery import curve
from senet_lab.networks.squeeze_excite import SqueezeExcite
from senet_lab.networks.unit import Trunk

Batches = Iterable[tuple[Tensor, Tensor]]
"""Images (N, 3, H, W) and labels (N,)."""
Rows = list[dict[str, Any]]
"""A table: each row's values by column."""


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
def excitations(network: nn.Module, batches: Batches, num_classes: int) -> Rows:
    """Mean gate of each SE block over the images of each class, and over the classes (`all`).

    Hu et al., arXiv 1709.01507v4, section 7.2: the role of excitation.

    Returns:
        Columns `block`, `class`, `channel`, `gate`; NaN for a class without an image, no rows without SE.
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
            one_hot = F.one_hot(labels, num_classes).float()  # (N, classes)
            counts += one_hot.sum(0).cpu()
            for name, gate in outputs.items():
                sums[name] = sums.get(name, 0) + (one_hot.T @ gate.float()).cpu()
    rows = []
    for block, total in sums.items():
        means = total / counts[:, None]  # (classes, C)
        series = {"all": means.nanmean(0)} | {f"class {number}": row for number, row in enumerate(means)}
        rows += [
            {"block": block, "class": name, "channel": channel, "gate": gate}
            for name, gates in series.items()
            for channel, gate in enumerate(gates.tolist())
        ]
    return rows


def feature_reuse(network: DenseNet) -> Rows:
    """Mean absolute weights between the layers of dense blocks. Huang et al., arXiv 1608.06993, figure 5.

    Returns:
        Columns `block` (from 1), `source` (`00` is the block's input), `target` (the last one, `out`, is the
        transition, or the classifier after the last block), and `weight`, the mean absolute weight from the
        source's channels to the target.
    """
    rows = []
    for number, stage in enumerate(network.stages, start=1):
        layers = dict(stage.named_children())
        after = layers.pop("transition", None)
        weights = [unit.get_parameter("branch.conv1.weight") for unit in layers.values()]
        target, name = (network.classifier, "fc.weight") if after is None else (after, "conv1.weight")
        weights.append(target.get_parameter(name))
        first = weights[0].shape[1]
        growth = weights[1].shape[1] - first
        targets = [*(f"{layer:02d}" for layer in range(1, len(weights))), "out"]
        for column, values in enumerate(weights):
            by_channel = values.detach().abs().flatten(1).mean(0)  # a 1×1 convolution's, or a linear layer's
            sources = by_channel.split([first] + [growth] * column)
            rows += [
                {
                    "block": number,
                    "source": f"{source:02d}",
                    "target": targets[column],
                    "weight": part.mean().item(),
                }
                for source, part in enumerate(sources)
            ]
    return rows


@torch.no_grad()
def class_activation_maps(network: Trunk, images: Tensor) -> tuple[Tensor, Tensor]:
    """Class activation maps (N, H', W') of the predicted classes (N,).

    A map is the last feature map weighted by the classifier's row of that class. Zhou et al., CVPR 2016,
    arXiv 1512.04150.
    """
    network.eval()
    with recorded({"features": network.head}) as outputs:
        predicted = network(images).argmax(1)
    weight = next(p for p in network.classifier.parameters() if p.ndim > 1).flatten(1)  # (classes, C)
    return torch.einsum("nchw,nc->nhw", outputs["features"], weight[predicted]), predicted


def shapes(
    act_layer: Callable[[int], nn.Module], learned: Mapping[str, Mapping[str, float]], x: np.ndarray
) -> Rows:
    """Activations at coefficients that a run recorded.

    Args:
        act_layer: makes the activation for a number of channels.
        learned: coefficients by name, for each curve.
        x: points of evaluation, (n,).

    Returns:
        Columns `curve`, `x`, `y` and `slope`: n rows for each curve.
    """
    rows = []
    for name, values in learned.items():
        act = act_layer(1)
        with torch.no_grad():
            for coefficient, tensor in coefficients(act).items():
                tensor.fill_(values[coefficient])
        rows += [
            {"curve": name, "x": place, "y": value, "slope": slope}
            for place, value, slope in zip(x, *curve(act, x), strict=True)
        ]
    return rows


@torch.no_grad()
def noisy_errors(
    network: nn.Module, batches: Callable[[], Batches], levels: Sequence[float], seed: int
) -> Rows:
    """Error on images with Gaussian noise (Misra, arXiv 1908.08681).

    Args:
        network: the trained network.
        batches: called for a new pass over the normalised images.
        levels: standard deviations of the noise, in units of the normalised images.
        seed: seed of the noise, which has the same draws at each level.

    Returns:
        Columns `noise` and `error`, the fraction of misclassified images.
    """
    network.eval()
    rows = []
    for level in levels:
        draws = torch.Generator().manual_seed(seed)
        wrong = count = 0
        for images, labels in batches():
            noise = torch.randn(images.shape, generator=draws)
            wrong += int((network(images + level * noise).argmax(1) != labels).sum())
            count += len(labels)
        rows.append({"noise": level, "error": wrong / count})
    return rows


def between(
    network: nn.Module,
    first: Mapping[str, Tensor],
    second: Mapping[str, Tensor],
    places: Sequence[float],
    train: Callable[[], Batches],
    test: Callable[[], Batches],
) -> Rows:
    """Loss and error on the straight line through the weights of two runs.

    Goodfellow, Vinyals and Saxe, ICLR 2015, arXiv 1412.6544. Batch norm statistics are recomputed on the
    training images: interpolated ones would not fit (Izmailov et al., UAI 2018, arXiv 1803.05407).

    Args:
        network: the network to load the weights into.
        first: state of a run, at place 0.
        second: state of another run, at place 1.
        places: points of evaluation.
        train: called for a new pass over training images.
        test: called for a new pass over test images.

    Returns:
        Columns `place`, `loss` (mean per image, nats) and `error` (a fraction) on the test images.
    """
    has_statistics = any(isinstance(module, _BatchNorm) for module in network.modules())
    rows = []
    for place in places:
        network.load_state_dict(
            {
                name: torch.lerp(value, second[name], place) if value.is_floating_point() else value
                for name, value in first.items()
            }
        )
        if has_statistics:
            update_bn(train(), network)
        rows.append({"place": place, **_loss_and_error(network, test())})
    return rows


@torch.no_grad()
def _loss_and_error(network: nn.Module, batches: Batches) -> dict[str, float]:
    network.eval()
    loss = wrong = count = 0.0
    for images, labels in batches:
        logits = network(images).float()
        loss += F.cross_entropy(logits, labels, reduction="sum").item()
        wrong += int((logits.argmax(1) != labels).sum())
        count += len(labels)
    return {"loss": loss / count, "error": wrong / count}
