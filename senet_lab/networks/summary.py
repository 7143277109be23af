"""Layers, parameters and multiply-accumulates of a network, from shapes on torch's meta device."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from senet_lab.norms import NORMS


@dataclass(frozen=True)
class Layer:
    """A module of the forward pass that has no submodules, or has parameters of its own."""

    name: str
    type: str
    output: tuple[int, ...]
    """Shape without the batch."""
    parameters: int
    macs: int
    """Multiply-accumulates of convolutions and matrix products for one image."""


@dataclass(frozen=True)
class Summary:
    """Counts of a whole network for one image."""

    parameters: int
    macs: int
    layers: list[Layer] = field(repr=False)


@dataclass(frozen=True)
class Operation:
    """Consecutive equal units: the stem, residual units, a transition, the head, the classifier."""

    name: str
    """Name of the first unit."""
    repeat: int
    output: tuple[int, ...]
    macs: int
    """Total of all units."""
    parameters: int
    """Total of all units."""


class ActivationProbes:
    """A stand-in for the activation under test that counts its instances and sites.

    Call it as `act_layer`; `instances` is known once the network is built, `sites` after one forward pass.
    """

    def __init__(self) -> None:
        self.instances = 0
        self.sites = 0

    def __call__(self, _channels: int) -> nn.Module:
        """Make one more instance."""
        self.instances += 1
        probe = nn.Identity()
        probe.register_forward_hook(self._count)
        return probe

    def _count(self, _module: nn.Module, _inputs: Any, _output: Tensor) -> None:
        self.sites += 1


def count_operations(network: nn.Module, image_size: int) -> FlopCounterMode:
    """The counts of a forward pass of one image; two operations are a multiply-accumulate.

    Args:
        network: on the meta device; left in evaluation mode.
        image_size: pixels a side.
    """
    counter = FlopCounterMode(display=False)
    with _without_norms(network), torch.no_grad(), counter:
        network.eval()(torch.empty(1, 3, image_size, image_size, device="meta"))
    return counter


@contextmanager
def _without_norms(network: nn.Module) -> Iterator[None]:
    """Within, batch norms pass their input on: they count nothing, and took a third of the time."""
    norms = [module for module in network.modules() if type(module) is nn.BatchNorm2d]
    for norm in norms:
        norm.forward = _unchanged  # type: ignore[method-assign]
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward


def _unchanged(input: Tensor) -> Tensor:  # noqa: A002
    return input


def summarise(network: nn.Module, image_size: int, norms: bool = True) -> Summary:
    """Count layers, parameters and multiply-accumulates of a network on the meta device.

    Args:
        network: maps (N, 3, image_size, image_size) to logits.
        image_size: pixels a side.
        norms: count scale and shift of norms as parameters.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    leaves = {
        name: module
        for name, module in network.named_modules()
        if not any(module.children()) or list(module.parameters(recurse=False))
    }

    def remember(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            shapes[name] = tuple(output.shape[1:])

        return hook

    handles = [module.register_forward_hook(remember(name)) for name, module in leaves.items()]
    counter = count_operations(network, image_size)
    for handle in handles:
        handle.remove()
    root = type(network).__name__
    flops = {name: sum(count.values()) for name, count in counter.get_flop_counts().items()}

    def own_flops(name: str) -> int:
        children = (f"{root}.{name}.{child}" for child, _ in leaves[name].named_children())
        return flops.get(f"{root}.{name}", 0) - sum(flops.get(child, 0) for child in children)

    def own_parameters(module: nn.Module) -> int:
        if isinstance(module, NORMS) and not norms:
            return 0
        return sum(parameter.numel() for parameter in module.parameters(recurse=False))

    layers = [
        Layer(name, type(module).__name__, shape, own_parameters(module), own_flops(name) // 2)
        for name, shape in shapes.items()
        for module in [leaves[name]]
    ]
    return Summary(sum(map(own_parameters, network.modules())), flops["Global"] // 2, layers)


def operations(layers: Iterable[Layer]) -> list[Operation]:
    """Sum layers up to units, and merge consecutive equal units of a stage."""
    units: list[Operation] = []
    for name, group in itertools.groupby(layers, lambda layer: _unit(layer.name)):
        members = list(group)
        macs, parameters = (sum(getattr(layer, key) for layer in members) for key in ("macs", "parameters"))
        units.append(Operation(name, 1, members[-1].output, macs, parameters))
    joined: list[Operation] = []
    equal = itertools.groupby(units, lambda unit: (_stage(unit.name), *astuple(unit)[2:]))
    for _, run in equal:
        first, *others = run
        repeat = 1 + len(others)
        joined.append(
            Operation(first.name, repeat, first.output, repeat * first.macs, repeat * first.parameters)
        )
    return joined


def _unit(layer: str) -> str:
    parts = layer.split(".")
    return ".".join(parts[: 3 if parts[0] == "stages" else 1])


def _stage(unit: str) -> str:
    return unit.rpartition(".")[0] or unit
