import inspect
from collections.abc import Callable

import pytest
import torch
from conftest import CONF, options
from omegaconf import OmegaConf
from torch import Tensor, nn

from senet_lab.errors import UsageError
from senet_lab.networks.activations import TAct
from senet_lab.networks.densenet import DenseNet
from senet_lab.networks.mobilenetv2 import MobileNetV2
from senet_lab.networks.resnet import ResNet
from senet_lab.networks.squeeze_excite import Placement, SqueezeExcite
from senet_lab.networks.unit import ResidualUnit

# Hidden widths by config, C = 64 and r = 16.
WIDTHS = {
    "standard": [64, 4, 64],
    "slow_squeeze": [64, 8, 4, 64],
    "slow_excite": [64, 4, 8, 64],
    "slow_squeeze_excite": [64, 8, 4, 8, 64],
    "bump": [64, 4, 4, 64],
}


def relu(channels: int) -> nn.Module:
    return nn.ReLU()


@pytest.mark.parametrize("squeeze", ["avg", "max"])
@pytest.mark.parametrize("gate", ["sigmoid", "tanh", "relu"])
def test_block_is_the_papers_formula(squeeze: str, gate: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 32, 5, 4)
    block = Placement(reduction=8, squeeze=squeeze, gate=gate).block(32, relu)
    w1, b1, w2, b2 = block.parameters()
    assert w1.shape == (4, 32)
    pixels = x.flatten(2)
    z = pixels.mean(-1) if squeeze == "avg" else pixels.max(-1).values
    s = (z @ w1.T + b1).clamp(min=0) @ w2.T + b2
    s = {"sigmoid": 1 / (1 + torch.exp(-s)), "tanh": torch.tanh(s), "relu": s.clamp(min=0)}[gate]
    torch.testing.assert_close(block(x), torch.einsum("nchw,nc->nchw", x, s))


@pytest.mark.parametrize("name", WIDTHS)
def test_variants_are_their_hidden_widths(config: Callable, name: str) -> None:
    se = config(f"se={name}").se
    block = Placement(reduction=se["reduction"], hidden=se["hidden"]).block(64, relu)
    layers = [layer for layer in block.modules() if isinstance(layer, nn.Linear)]
    assert [layers[0].in_features, *(layer.out_features for layer in layers)] == WIDTHS[name]
    assert all(layer.bias is not None for layer in layers)
    assert sum(isinstance(layer, nn.ReLU) for layer in block.excite) == len(layers) - 1
    assert not isinstance(block.excite[-1], nn.ReLU)
    assert block(torch.randn(2, 64, 1, 1)).shape == (2, 64, 1, 1)


def test_hidden_width_is_at_least_one() -> None:
    assert Placement(reduction=16).block(8, relu).excite[0].out_features == 1


def by_hand(unit: ResidualUnit, se: nn.Module, position: str, x: Tensor) -> Tensor:
    """Hu et al., version 4, figure 5, with x the unit's input, F its branch, A its activation."""
    if position == "standard":
        return unit.act(se(unit.branch(x)) + unit.shortcut(x))
    if position == "pre":
        return unit.act(unit.branch(se(x)) + unit.shortcut(x))
    if position == "identity":
        return unit.act(unit.branch(x) + se(unit.shortcut(x)))
    return se(unit.act(unit.branch(x) + unit.shortcut(x)))


@pytest.mark.parametrize("position", ["standard", "pre", "identity", "post"])
def test_positions_are_those_of_figure_5(position: str) -> None:
    torch.manual_seed(0)
    se = Placement(stages=[3], position=position, reduction=2)
    network = ResNet(10, relu, depths=[1, 1], widths=[8, 16], se=se).eval()
    plain, unit = network.stages[0][0], network.stages[1][0]
    blocks = {name: module for name, module in unit.named_modules() if isinstance(module, SqueezeExcite)}
    assert list(blocks) == [position]
    assert not any(isinstance(module, SqueezeExcite) for module in plain.modules())
    x = torch.randn(2, 8, 6, 6)
    torch.testing.assert_close(unit(x), by_hand(unit, blocks[position], position, x))


@pytest.mark.parametrize("name", options("se"))
@pytest.mark.parametrize("position", ["standard", "pre", "identity", "post"])
@pytest.mark.parametrize("network", ["resnet", "mobilenetv2", "densenet"])
def test_every_variant_at_every_position_learns(
    config: Callable, name: str, position: str, network: str
) -> None:
    node = config(f"se={name}").se
    arguments = {key: value for key, value in node.items() if key not in ("_target_", "name", "label")}
    se = Placement(**arguments | {"position": position, "stages": node["stages"][:4]})
    made = {
        "resnet": lambda: ResNet(10, relu, depths=[1, 1, 1, 1], widths=[8, 8, 8, 8], se=se),
        "mobilenetv2": lambda: MobileNetV2(
            10, relu, [[1, 32, 1, 1], [2, 8, 2, 2], [2, 8, 1, 2], [2, 8, 1, 2]], head_channels=16, se=se
        ),
        "densenet": lambda: DenseNet(10, relu, depths=[1, 2, 1, 1], growth_rate=8, se=se),
    }[network]()
    made(torch.randn(2, 3, 8, 8)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in made.parameters())
    found = sum(isinstance(module, SqueezeExcite) for module in made.modules())
    units = sum(isinstance(module, ResidualUnit) for module in made.modules())
    skips = 2 if network == "mobilenetv2" else units
    assert found == (0 if name == "none" else skips if position == "identity" else units)


def test_hidden_layer_can_take_the_activation_under_test() -> None:
    network = ResNet(
        10,
        lambda channels: TAct(channels, 0.2, 0.2),
        depths=[1],
        widths=[16],
        se=Placement([2], activation="trunk"),
    )
    assert isinstance(network.stages[0][0].standard.excite.act1, TAct)
    standard = ResNet(
        10, lambda channels: TAct(channels, 0.2, 0.2), depths=[1], widths=[16], se=Placement([2])
    )
    assert type(standard.stages[0][0].standard.excite.act1) is nn.ReLU


# Hu et al., the ablations of section 6: millions of parameters at 1000 classes, as the paper rounds them.
@pytest.mark.parametrize(
    ("overrides", "published"),
    [
        (["se=none"], 25.6),
        (["se=standard"], 28.1),
        (["se=standard", "se.reduction=2"], 45.7),
        (["se=standard", "se.reduction=4"], 35.7),
        (["se=standard", "se.reduction=8"], 30.7),
        (["se=standard", "se.reduction=32"], 26.9),
        (["se=standard", "se.stages=[2]"], 25.6),
        (["se=standard", "se.stages=[3]"], 25.7),
        (["se=standard", "se.stages=[4]"], 26.4),
    ],
)
def test_counts_of_se_resnet50(build: Callable, overrides: list[str], published: float) -> None:
    with torch.device("meta"):
        network = build("model=resnet50", *overrides, num_classes=1000)
    millions = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    assert millions == pytest.approx(published, abs=0.1)  # the paper's own rounding is up to 0.1 off


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"position": "after"}, "se.position"),
        ({"reduction": 0}, "se.reduction"),
        ({"hidden": [0]}, "se.hidden"),
        ({"gate": "softmax"}, "se.gate"),
        ({"squeeze": "sum"}, "se.squeeze"),
        ({"activation": "gelu"}, "se.activation"),
        ({"stages": [6]}, "se.stages"),
    ],
)
def test_bad_values_are_refused_by_name(arguments: dict, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        ResNet(10, relu, depths=[1, 1, 1, 1], se=Placement(**arguments))


@pytest.mark.parametrize("name", options("se"))
def test_yaml_opens_with_its_source_and_names_itself(name: str) -> None:
    text = (CONF / "se" / f"{name}.yaml").read_text()
    assert text.startswith("# ")
    assert OmegaConf.create(text).name == name
    assert OmegaConf.create(text).label


def test_the_yaml_of_the_papers_block_shows_the_defaults(config: Callable) -> None:
    shown = config("se=standard").se
    for name, parameter in inspect.signature(Placement).parameters.items():
        default = list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default
        assert shown[name] == default, name


def test_bump_can_be_a_convolution_which_acts_by_its_centre(config: Callable) -> None:
    se = config("se=bump_conv").se
    block = Placement(hidden=se["hidden"], kernel=se["kernel"]).block(64, relu)
    plain = Placement(hidden=se["hidden"]).block(64, relu)
    conv, fc = block.excite.conv2, plain.excite.fc2
    assert conv.weight.shape == (4, 4, 3, 3)
    plain.excite.fc1, plain.excite.fc3 = block.excite.fc1, block.excite.fc3
    fc.weight.data, fc.bias.data = conv.weight.data[:, :, 1, 1], conv.bias.data
    x = torch.randn(2, 64, 3, 3)
    torch.testing.assert_close(block(x), plain(x))


def test_in_the_three_layer_network_se_replaces_the_second_convolution(build: Callable) -> None:
    plain, se = build("model=cnn3"), build("model=cnn3", "se=slow_squeeze")
    assert isinstance(plain.stages[0].conv1, nn.Conv2d)
    assert isinstance(se.stages[0], SqueezeExcite)
    assert [isinstance(m, nn.Conv2d) for m in se.modules()].count(True) == 2
    with pytest.raises(UsageError, match=r"se\.position=pre"):
        build("model=cnn3", "se=standard", "se.position=pre")
