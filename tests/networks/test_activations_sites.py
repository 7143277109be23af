"""Which modules of a network are activations under test, and what they say that they learn."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from senet_lab.build import build_act_layer
from senet_lab.errors import UsageError
from senet_lab.networks.activations import (
    TAct,
    activation_sites,
    as_site,
    coefficient_rows,
    coefficients,
)


class ScaledTanh(nn.Module):
    """The README's example of an activation of one's own."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * torch.tanh(x)


class Rows(nn.Module):
    """Holds its coefficients in a matrix, and a layer that is none of them."""

    def __init__(self, named: bool) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        self.layer = nn.Linear(2, 2)
        if named:
            self.coefficients = lambda: {"first": self.matrix[0], "second": self.matrix[1]}


def test_what_build_makes_is_a_site_and_nothing_else_is(build: Callable) -> None:
    network = build("model=senet18", "activation=relu")
    sites = dict(activation_sites(network))
    assert len(sites) == 1 + 2 * 8
    assert all(type(module) is nn.ReLU for module in sites.values())
    # The hidden layers of SE keep a ReLU of their own.
    assert sum(type(module) is nn.ReLU for module in network.modules()) == len(sites) + 8


def test_a_module_that_serves_several_places_is_one_site(build: Callable) -> None:
    network = build("model=published/senet18", "activation=tact")
    assert [name for name, _ in activation_sites(network)][:2] == ["stem.act1", "stages.0.0.branch.act1"]
    assert len(list(coefficient_rows(network))) == 2 * 9


def test_the_published_relu6_stands_at_the_sites_of_relu(build: Callable) -> None:
    sites = [
        [name for name, _ in activation_sites(build("model=published/mobilenetv2", f"activation={name}"))]
        for name in ("relu", "tact")
    ]
    assert sites[0] == sites[1]
    assert len(sites[0]) == 1 + 17


def test_own_parameters_are_coefficients() -> None:
    act = ScaledTanh(1.5)
    assert list(coefficients(act)) == ["scale"]
    assert coefficients(act)["scale"] is act.scale  # so that an optimizer knows it
    assert coefficients(nn.ReLU()) == {}


def test_a_class_names_the_parts_of_a_matrix() -> None:
    act = as_site(Rows(named=True))
    assert list(coefficient_rows(act)) == [
        ("[0]", "first", 1.0),
        ("[1]", "first", 2.0),
        ("[0]", "second", 3.0),
        ("[1]", "second", 4.0),
    ]


def test_a_matrix_without_names_is_refused_when_it_is_built() -> None:
    node = {"_target_": "torch.nn.Bilinear", "in1_features": 1, "in2_features": 2, "out_features": 3}
    with pytest.raises(UsageError, match=r"Bilinear\.weight has shape \(3, 1, 2\)"):
        build_act_layer(node, seed=0)(4)


@pytest.mark.parametrize("learnable", [True, False])
def test_alpha_and_beta_are_told_whether_learned_or_not(learnable: bool) -> None:
    network = nn.Sequential(as_site(TAct(2, 0.25, 0.5, learnable=learnable)), nn.Linear(2, 2))
    assert list(coefficient_rows(network)) == [("0", "alpha", 0.25), ("0", "beta", 0.5)]
    assert coefficients(network[0]).keys() == set(network[0].state_dict())


def test_rows_of_one_value_per_channel() -> None:
    network = nn.Sequential(as_site(TAct(2, 0.25, 0.5, per_channel=True)))
    assert list(coefficient_rows(network)) == [
        ("0[0]", "alpha", 0.25),
        ("0[1]", "alpha", 0.25),
        ("0[0]", "beta", 0.5),
        ("0[1]", "beta", 0.5),
    ]


def test_a_network_without_coefficients_has_no_rows(build: Callable) -> None:
    assert list(coefficient_rows(build("model=cnn3", "activation=relu"))) == []
