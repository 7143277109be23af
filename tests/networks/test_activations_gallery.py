"""The data of the gallery, and the page of activations made from it."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import options
from torch import nn

from senet_lab.build import build_act_layer
from senet_lab.networks.gallery import gallery

ROOT = Path(__file__).parents[2]
X = np.linspace(-4, 4, 161)


def test_every_option_has_a_portrait() -> None:
    portraits = {portrait.name: portrait for portrait in gallery(X, build_act_layer)}
    assert list(portraits) == options("activation")
    for portrait in portraits.values():
        assert portrait.y.shape == portrait.slope.shape == X.shape
        assert np.isfinite(portrait.y).all()
        assert portrait.formula
        assert portrait.source
    softplus, apl = portraits["softplus"], portraits["apl"]
    np.testing.assert_allclose(softplus.y, np.logaddexp(0, X))
    np.testing.assert_allclose(softplus.slope, 1 / (1 + np.exp(-X)))
    assert (softplus.label, softplus.formula) == ("Softplus", "Softplus(x) = ln(1 + eˣ)")
    assert softplus.source.startswith("Dugas et al.")
    assert (softplus.learned, softplus.per_channel) == ((), False)
    assert apl.learned == ("a1", "a2", "a3", "a4", "a5", "b1", "b2", "b3", "b4", "b5")
    assert apl.per_channel
    assert portraits["tact"].learned == ("alpha", "beta")
    assert not portraits["tact"].per_channel


def test_a_portrait_is_of_the_first_site_of_seed_0() -> None:
    portraits = {portrait.name: portrait for portrait in gallery(X, build_act_layer)}
    again = {
        portrait.name: portrait for portrait in gallery(X, lambda node, seed: build_act_layer(node, seed + 1))
    }
    for name, drawn in (("acon_c", True), ("tact", True), ("relu", False), ("prelu", False)):
        assert (portraits[name].y == pytest.approx(again[name].y)) is not drawn


def test_the_page_of_activations_is_what_the_configs_say() -> None:
    written = (ROOT / "docs" / "activations.md").read_text("utf-8")
    script = runpy.run_path(str(ROOT / "scripts" / "activations_md.py"))
    costs, machine = script["costs_of"](written)
    assert script["document"](costs, machine) == written
    assert all(float(cell) >= 0 for cells in costs.values() for cell in cells)


def test_kept_bytes_are_those_of_the_maps() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "activations_md.py"))
    x = torch.randn(4, 8, 3, 3, requires_grad=True)
    assert script["kept"](nn.SiLU(), x) == 4  # its input
    assert script["kept"](nn.Tanhshrink(), x) == 4  # its tanh
    assert script["kept"](nn.Softsign(), x) == 8  # dividend and divisor
    assert script["kept"](nn.Identity(), x) == 0
