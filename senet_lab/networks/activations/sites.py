"""Activation sites: the modules of the activation under test, and their learned coefficients."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from senet_lab.errors import UsageError


def as_site(module: nn.Module) -> nn.Module:
    """Mark a module as the activation under test, so that `activation_sites` finds it.

    Raises:
        UsageError: a coefficient that is neither a number nor one per channel.
    """
    for name, value in coefficients(module).items():
        if value.ndim > 1:
            raise UsageError(
                f"activation: {type(module).__name__}.{name} has shape {tuple(value.shape)}; a coefficient is"
                " () or (channels,): split it, or name its parts in a method coefficients()"
            )
    module.is_activation_site = True  # type: ignore[assignment]
    return module


def activation_sites(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Name and module of each activation under test; a shared instance is yielded once."""
    for name, module in network.named_modules():
        if getattr(module, "is_activation_site", False):
            yield name, module


def coefficients(module: nn.Module) -> dict[str, Tensor]:
    """The coefficients of an activation by name, each of shape () or (C,), one value per channel.

    By default its own parameters, without those of submodules; a class with other coefficients returns them
    from a method `coefficients() -> dict[str, Tensor]`. The tensors are the parameters themselves, not
    copies.
    """
    named = getattr(module, "coefficients", None)
    return named() if named else dict(module.named_parameters(recurse=False))


def coefficient_rows(network: nn.Module) -> Iterator[tuple[str, str, float]]:
    """Site, name and value of every activation coefficient of a network.

    A coefficient per channel gives one row per channel, with the site written `site[channel]`.
    """
    labels: list[tuple[str, str]] = []
    values: list[Tensor] = []
    for site, module in activation_sites(network):
        for name, value in coefficients(module).items():
            places = [site] if value.ndim == 0 else [f"{site}[{channel}]" for channel in range(len(value))]
            labels += [(place, name) for place in places]
            values.append(value.detach().flatten())
    if values:
        # A single copy from the device.
        for (place, name), number in zip(labels, torch.cat(values).tolist(), strict=True):
            yield place, name, number
