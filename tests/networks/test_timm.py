import sys
from collections.abc import Callable
from typing import ClassVar

import pytest
import torch
from torch import nn

from senet_lab.errors import UsageError
from senet_lab.networks.activations import TAct
from senet_lab.networks.squeeze_excite import SqueezeExcite
from senet_lab.networks.summary import ActivationProbes, summarise
from senet_lab.networks.timm import Timm

timm = pytest.importorskip("timm")


def tact(channels: int) -> TAct:
    return TAct(channels, 0.2, 0.2, per_channel=True)


@pytest.mark.parametrize(
    ("name", "sites"),
    [
        ("seresnet50", 1 + 3 * 16 + 16),  # the hidden layers of SE are sites, too
        ("resnext50_32x4d", 1 + 3 * 16),
        ("seresnext50_32x4d", 1 + 3 * 16 + 16),
        ("efficientnet_b0", 1 + 1 + 2 * 15 + 1 + 16),
    ],
)
def test_the_activation_stands_at_every_site(name: str, sites: int) -> None:
    probes = ActivationProbes()
    with torch.device("meta"):
        network = Timm(10, probes, name)
        theirs = timm.create_model(name, num_classes=10)
    counts = summarise(network, 64)
    assert (probes.sites, probes.instances) == (sites, sites)
    assert counts.parameters == sum(parameter.numel() for parameter in theirs.parameters())
    kinds = (nn.ReLU, nn.SiLU)
    assert not any(isinstance(module, kinds) for module in network.modules())


def test_each_site_gets_its_width_and_learns(build: Callable) -> None:
    torch.manual_seed(0)
    network = build("model=timm", "model.name=seresnet18", "activation=tact", "activation.per_channel=true")
    assert network.network.layer2[0].act1.alpha.shape == (128,)
    network(torch.randn(2, 3, 32, 32)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_published_count_of_seresnet50(build: Callable) -> None:
    with torch.device("meta"):
        network = build("model=timm", num_classes=1000)
    assert sum(parameter.numel() for parameter in network.parameters()) == 28_088_024


def test_refused_where_one_module_serves_several_sites() -> None:
    with pytest.raises(UsageError, match=r"legacy_seresnet18.*one module at several sites"):
        Timm(10, tact, "legacy_seresnet18")


def test_refused_where_an_activation_is_a_function(monkeypatch: pytest.MonkeyPatch) -> None:
    class Functional(nn.Module):
        default_cfg: ClassVar = {"input_size": (3, 8, 8)}

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.relu(x)

    monkeypatch.setattr(timm, "create_model", lambda *_, **__: Functional())
    with pytest.raises(UsageError, match=r"seresnet50.*relu as a function"):
        Timm(10, tact, "seresnet50")


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean seresnet50"):
        Timm(10, tact, "seresnet5O")


def test_without_timm_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UsageError, match=r"pip install 'senet-lab\[timm\]'"):
        Timm(10, tact, "seresnet50")


# Hu et al., arXiv 1709.01507v4, section 3.3: SE after a whole Inception module, or at the end of a branch.
@pytest.mark.parametrize(
    ("name", "after", "widths"),
    [
        ("inception_v3", "Mixed_[^.]*", [256, 288, 288, *[768] * 5, 1280, 2048, 2048]),
        ("inception_resnet_v2", "(repeat.*|block8)[.]conv2d", [320] * 10 + [1088] * 20 + [2080] * 10),
    ],
)
def test_se_after_the_modules_that_a_pattern_names(
    build: Callable, name: str, after: str, widths: list[int]
) -> None:
    model = ["model=timm", f"model.name={name}", f'model.after="{after}"']
    with torch.device("meta"):
        plain, gated = (build(*model, f"se={se}", num_classes=1000) for se in ("none", "standard"))
        gated(torch.empty(1, 3, 299, 299))
    blocks = [module for module in gated.modules() if isinstance(module, SqueezeExcite)]
    assert sorted(block.excite[-1].out_features for block in blocks) == sorted(widths)
    counts = [sum(parameter.numel() for parameter in network.parameters()) for network in (plain, gated)]
    assert counts[1] - counts[0] == sum(2 * c * (c // 16) + c + c // 16 for c in widths)
    assert counts[0] == {"inception_v3": 23_834_568, "inception_resnet_v2": 55_843_464}[name]


def test_se_needs_a_module_to_stand_after(build: Callable) -> None:
    with pytest.raises(UsageError, match=r"model\.after matches no module of resnet18"):
        build("model=timm", "model.name=resnet18", "se=standard")
