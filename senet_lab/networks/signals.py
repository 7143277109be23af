"""Distributions of pre-activations and dead channels at each activation site of a network."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from senet_lab.networks.activations import activation_sites
from senet_lab.records.rows import MEASURES, QUANTILES

SIGNAL_IMAGES = 500
"""Test images for `signals`."""
SAMPLE = 512
"""Pre-activations of a site and image, on average, from which statistics are computed; all, if no more."""
CONSTANT = 1e-6
"""Range of values below which a channel's output counts as constant."""


@torch.no_grad()
def signals(network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> list[dict[str, Any]]:
    """Pre-activations and dead channels of each activation site.

    Returns:
        A row for each site in the order of the forward pass: `site`; `depth`, from 1; `MEASURES`, with the
        standard deviation of the population, and channels that are constant over all images and pixels.
    """
    inputs: dict[str, list[Tensor]] = {}
    lows: dict[str, Tensor] = {}
    highs: dict[str, Tensor] = {}

    def before(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def keep(_module: nn.Module, given: tuple[Tensor, ...]) -> None:
            inputs.setdefault(name, []).append(_sample(given[0]))

        return keep

    def behind(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def keep(_module: nn.Module, _given: tuple[Tensor, ...], output: Tensor) -> None:
            others = [dim for dim in range(output.ndim) if dim != 1]
            low, high = output.amin(others), output.amax(others)
            lows[name] = torch.minimum(low, lows.get(name, low))
            highs[name] = torch.maximum(high, highs.get(name, high))

        return keep

    handles = []
    for name, module in activation_sites(network):
        # Before the module, as it may write its output over its input.
        handles += [
            module.register_forward_pre_hook(before(name)),
            module.register_forward_hook(behind(name)),
        ]
    network.eval()
    try:
        for images, _ in batches:
            network(images)
    finally:
        for handle in handles:
            handle.remove()
    return [
        {"site": site, "depth": depth, **_measures(torch.cat(parts).float(), highs[site] - lows[site])}
        for depth, (site, parts) in enumerate(inputs.items(), start=1)
    ]


def _measures(values: Tensor, ranges: Tensor) -> dict[str, float]:
    """The `MEASURES` of a site, from its pre-activations (n,) and the range of each channel's output (C,)."""
    quantiles = values.quantile(values.new_tensor(list(QUANTILES.values())))
    dead = (ranges <= CONSTANT).float().mean()
    numbers = torch.stack([values.mean(), values.std(correction=0), *quantiles, dead])
    return dict(zip(MEASURES, numbers.tolist(), strict=True))


def _sample(values: Tensor) -> Tensor:
    """Some elements of a batch's values, always at the same random places: a stride would favour columns."""
    flat, count = values.flatten(), SAMPLE * len(values)
    if len(flat) <= count:
        return flat.clone()
    places = torch.randint(len(flat), (count,), generator=torch.Generator().manual_seed(0))
    return flat[places.to(flat.device)]
