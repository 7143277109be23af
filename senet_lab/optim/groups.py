"""Parameter groups: weight decay by kind of parameter, and the learning rate of activation coefficients."""

import math
from collections.abc import Collection, Iterable
from typing import Any

from torch import Tensor, nn

from senet_lab.errors import UsageError
from senet_lab.norms import NORMS

KINDS = ("weights", "norms", "biases", "coefficients")
"""Kinds of parameters: `coefficients` of the activation under test; `norms` and all other vectors; `biases`
of other layers; and `weights`."""


def parameter_groups(
    network: nn.Module,
    coefficients: Iterable[Tensor],
    lr: float,
    weight_decay: float,
    no_decay: Collection[str] = (),
    coefficient_lr_factor: float | None = None,
) -> list[dict[str, Any]]:
    """Group a network's parameters by weight decay and learning rate; `weights` come first.

    Kinds with equal settings share a group, in the network's order.

    Args:
        network: the network whose parameters are grouped.
        coefficients: coefficients of the activation under test.
        lr: learning rate of the run.
        weight_decay: weight decay of all kinds except coefficients and those in `no_decay`.
        no_decay: kinds of parameters that do not decay.
        coefficient_lr_factor: learning rate of activation coefficients, in units of `lr`; None for 1.

    Raises:
        UsageError: an unknown kind, a factor that is negative or not finite.
    """
    if isinstance(no_decay, str) or not set(no_decay) <= set(KINDS):
        raise UsageError(f"optimizer.no_decay={no_decay}: must be a list of {', '.join(KINDS)}")
    if coefficient_lr_factor is not None and not 0 <= coefficient_lr_factor < math.inf:
        raise UsageError(
            f"optimizer.coefficient_lr_factor={coefficient_lr_factor}: must be a number, 0 or more, or null"
        )
    treatments: dict[str, dict[str, float]] = {kind: {} for kind in KINDS}
    if coefficient_lr_factor not in (None, 1):
        treatments["coefficients"]["lr"] = lr * coefficient_lr_factor
    if weight_decay:
        for kind in {*no_decay, "coefficients"}:
            treatments[kind]["weight_decay"] = 0.0
    kinds = parameter_kinds(network, coefficients)
    groups: list[dict[str, Any]] = []
    for kind in KINDS:
        alike = [other for other in KINDS if treatments[other] == treatments[kind]]
        params = [parameter for name, parameter in network.named_parameters() if kinds[name] in alike]
        if alike[0] == kind and params:
            groups.append({"params": params, **treatments[kind]})
    return groups


def parameter_kinds(network: nn.Module, coefficients: Iterable[Tensor]) -> dict[str, str]:
    """The kind of each parameter by its name, in the network's order."""
    learned = {id(value) for value in coefficients}
    norms = {
        id(parameter)
        for module in network.modules()
        if isinstance(module, NORMS)
        for parameter in module.parameters(recurse=False)
    }

    def kind(name: str, parameter: nn.Parameter) -> str:
        if id(parameter) in learned:
            return "coefficients"
        if id(parameter) in norms:
            return "norms"
        if name.rpartition(".")[2] == "bias":
            return "biases"
        return "weights" if parameter.ndim > 1 else "norms"

    return {name: kind(name, parameter) for name, parameter in network.named_parameters()}
