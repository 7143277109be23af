"""Which parameters decay, and how fast coefficients learn."""

from typing import Any

import pytest
import torch
from torch import nn

from senet_lab.errors import UsageError
from senet_lab.networks.activations import TAct
from senet_lab.optim.groups import KINDS, parameter_groups, parameter_kinds


def network() -> nn.Sequential:
    torch.manual_seed(0)
    act = TAct(4, 0.25, 0.5, per_channel=True)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), act, nn.Flatten(), nn.LayerNorm(16), nn.Linear(16, 5)
    )


def grouped(network: nn.Sequential, *arguments: Any, **words: Any) -> list[dict[str, Any]]:
    return parameter_groups(network, network[2].parameters(), *arguments, **words)


def kinds_of(network: nn.Sequential) -> dict[str, str]:
    return parameter_kinds(network, network[2].parameters())


def test_kinds_by_hand() -> None:
    assert kinds_of(network()) == {
        "0.weight": "weights",
        "0.bias": "biases",
        "1.weight": "norms",
        "1.bias": "norms",
        "2.alpha": "coefficients",
        "2.beta": "coefficients",
        "4.weight": "norms",
        "4.bias": "norms",
        "5.weight": "weights",
        "5.bias": "biases",
    }


@pytest.mark.parametrize("spared", [[], ["norms", "biases"], ["weights"], ["coefficients"], KINDS])
def test_kinds_that_are_spared_and_coefficients_do_not_decay(spared: list[str]) -> None:
    """Without gradients of its own, a step of SGD is the decay alone: w ← w − lr·λ·w."""
    net = network()
    before = {name: value.detach().clone() for name, value in net.named_parameters()}
    optimizer = torch.optim.SGD(grouped(net, 0.5, 0.1, spared), lr=0.5, weight_decay=0.1)
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, value in net.named_parameters():
        left = 1.0 if kinds_of(net)[name] in {*spared, "coefficients"} else 1 - 0.5 * 0.1
        torch.testing.assert_close(value.detach(), before[name] * left)


def test_coefficients_have_a_rate_of_their_own() -> None:
    net = network()
    before = {name: value.detach().clone() for name, value in net.named_parameters()}
    groups = grouped(net, 0.01, 0.0, coefficient_lr_factor=10)
    optimizer = torch.optim.SGD(groups, lr=0.01)
    assert optimizer.param_groups[0]["lr"] == 0.01  # the one that is recorded
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    kinds = kinds_of(net)
    for name, value in net.named_parameters():
        moved = 0.1 if kinds[name] == "coefficients" else 0.01
        torch.testing.assert_close(value.detach(), before[name] - moved)


@pytest.mark.parametrize(("weight_decay", "spared"), [(0.0, ["norms"]), (0.1, KINDS)])
def test_what_is_treated_alike_is_one_group_in_the_networks_order(
    weight_decay: float, spared: list[str]
) -> None:
    net = network()
    (group,) = grouped(net, 0.1, weight_decay, spared, coefficient_lr_factor=1)
    assert list(map(id, group["params"])) == list(map(id, net.parameters()))


def test_every_parameter_is_in_one_group() -> None:
    net = network()
    groups = grouped(net, 0.1, 0.1, ["norms"], 2.0)
    assert [group.get("weight_decay") for group in groups] == [None, 0.0, 0.0]
    members = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(members) == sorted(map(id, net.parameters()))


@pytest.mark.parametrize("spared", ["weights", ["norm"], ["weights", "all"]])
def test_an_unknown_kind_is_refused(spared: str | list[str]) -> None:
    with pytest.raises(UsageError, match=r"optimizer\.no_decay=.*weights, norms, biases, coefficients"):
        grouped(network(), 0.1, 0.1, spared)


@pytest.mark.parametrize("factor", [-1.0, float("nan"), float("inf")])
def test_a_factor_that_is_no_factor_is_refused(factor: float) -> None:
    with pytest.raises(UsageError, match="coefficient_lr_factor="):
        grouped(network(), 0.1, 0.1, coefficient_lr_factor=factor)
