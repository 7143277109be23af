import re
from collections.abc import Callable

import pytest
import torch
from conftest import CONF, options
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from senet_lab.errors import UsageError
from senet_lab.networks import published
from senet_lab.networks.activations import TAct, activation_sites
from senet_lab.networks.resnet import ResNet
from senet_lab.networks.squeeze_excite import SqueezeExcite
from senet_lab.networks.unit import ResidualUnit, branch_alone, concat

# B1 to B7 and ResNet-101 differ in depth and width alone; timm's networks have tests of their own.
LARGER = "efficientnet_b[1-7]|resnet101|timm"
MODELS = [name for name in options("model") if not re.fullmatch(LARGER, name)]
COUNTS = {
    ("densenet121", "relu"): 6_956_298,
    ("mobilenetv2", "relu"): 2_236_682,
    ("senet18", "relu"): 11_263_042,
    ("published/densenet121", "relu"): 7_048_548,
    ("published/densenet121", "tact"): 7_048_550,
    ("published/mobilenetv2", "relu"): 2_254_090,
    ("published/mobilenetv2", "tact"): 2_254_126,
    ("published/senet18", "relu"): 11_389_726,
    ("published/senet18", "tact"): 11_389_744,
}
# Places in the standard networks where the activation under test stands.
SITES = {
    "densenet121": 2 * (6 + 12 + 24 + 16) + 3 + 1,  # bottlenecks, transitions, head
    "mobilenetv1": 1 + 2 * 13,
    "shufflenet": 1 + 2 * 16,
    "mobilenetv2": 1 + 1 + 2 * 16 + 1,  # stem, the unit without expansion, the others, head
    "cnn3": 3,
    "condconv_mobilenetv2": 1 + 2 * 16 + 1,
    "efficientnet_b0": 1 + 1 + 2 * 15 + 1 + 16,  # one in the SE block of each unit
    "resnet18": 1 + 2 * 8,
    "resnet50": 1 + 3 * 16,
    "senet18": 1 + 2 * 8,
}


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def learnable(network: nn.Module) -> list[str]:
    """Names of the distinct activations under test."""
    return [name for name, _ in activation_sites(network)]


@pytest.mark.parametrize(("model", "activation"), COUNTS)
def test_parameter_counts(build: Callable, model: str, activation: str) -> None:
    with torch.device("meta"):
        network = build(f"model={model}", f"activation={activation}")
    assert count(network) == COUNTS[model, activation]


@pytest.mark.parametrize("model", SITES)
def test_standard_networks_have_one_activation_at_each_site(build: Callable, model: str) -> None:
    with torch.device("meta"):
        network = build(f"model={model}", "activation=tact")
        plain = build(f"model={model}")
    assert len(learnable(network)) == SITES[model]
    assert count(network) == count(plain) + 2 * SITES[model]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("activation", ["relu", "mtact"])
def test_every_parameter_learns_at_8_pixels(build: Callable, model: str, activation: str) -> None:
    torch.manual_seed(0)
    network = build(f"model={model}", f"activation={activation}")
    logits = network(torch.randn(2, 3, 8, 8))
    logits[:, :10].square().sum().backward()
    assert logits.shape == (2, 100 if model == "published/densenet121" else 10)
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


@pytest.mark.parametrize("model", MODELS)
def test_learns_at_32_pixels(build: Callable, model: str) -> None:
    network = build(f"model={model}", "activation=tact", num_classes=7)
    logits = network(torch.randn(2, 3, 32, 32))
    nn.functional.cross_entropy(logits, torch.tensor([0, 6])).backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


@pytest.mark.parametrize("model", MODELS)
def test_maps_larger_images_to_logits(build: Callable, model: str) -> None:
    with torch.device("meta"), torch.no_grad():
        network = build(f"model={model}", num_classes=100)
        for size in (64, 224):
            assert network(torch.randn(2, 3, size, size)).shape == (2, 100)


def test_learns_at_64_pixels_in_channels_last_under_autocast(build: Callable) -> None:
    network = build("model=senet18", "activation=tact").to(memory_format=torch.channels_last)
    images = torch.randn(2, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        loss = network(images).square().sum()
    loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())
    assert all(parameter.grad.dtype == torch.float32 for parameter in network.parameters())


@pytest.mark.parametrize("model", ["mobilenetv2", "senet18", "published/senet18"])
def test_same_seed_same_network(build: Callable, model: str) -> None:
    states = []
    for seed in (0, 0, 1):
        states.append(build(f"model={model}", "activation=tact", seed=seed).state_dict())
    first, second, other = states
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("model", MODELS)
def test_the_activation_does_not_change_the_initial_weights(build: Callable, model: str) -> None:
    weights = []
    for activation in ("relu", "tact"):
        network = build(f"model={model}", f"activation={activation}")
        weights.append(torch.cat([p.flatten() for p in network.parameters() if p.ndim > 1]))
    assert torch.equal(*weights)


def test_sites_have_readable_names(build: Callable) -> None:
    with torch.device("meta"):
        names = learnable(build("model=senet18", "activation=tact"))
        dense = learnable(build("model=densenet121", "activation=tact"))
    assert names[:3] == ["stem.act1", "stages.0.0.branch.act1", "stages.0.0.act"]
    assert names[-1] == "stages.3.1.act"
    assert {"stages.0.5.branch.act2", "stages.0.transition.act1", "head.act"} <= set(dense)


def test_senet18_is_resnet18_with_se_unless_told_otherwise(build: Callable, config: Callable) -> None:
    assert config("model=senet18").se["name"] == "standard"
    assert config("model=senet18", "se=slow_squeeze").se["name"] == "slow_squeeze"
    with torch.device("meta"):
        assert count(build("model=senet18", "se=none")) == count(build("model=resnet18"))
        se = sum(count(m) for m in build("model=senet18").modules() if isinstance(m, SqueezeExcite))
        assert count(build("model=senet18")) == count(build("model=resnet18")) + se


@pytest.mark.parametrize(("stride_at", "strides"), [(0, (2, 1)), (1, (1, 2))])
def test_bottleneck_stride_position(build: Callable, stride_at: int, strides: tuple[int, int]) -> None:
    with torch.device("meta"):
        unit = build("model=resnet50", f"model.stride_at={stride_at}").stages[1][0]
    assert (unit.branch.conv1.stride[0], unit.branch.conv2.stride[0]) == strides
    assert unit.shortcut.conv.stride == (2, 2)


@pytest.mark.parametrize(("stem", "size"), [("cifar", 64), ("imagenet", 16)])
def test_resnet_stem(build: Callable, stem: str, size: int) -> None:
    with torch.device("meta"):
        network = build("model=resnet18", f"model.stem={stem}")
        assert network.stem(torch.randn(1, 3, 64, 64)).shape == (1, 64, size, size)


@pytest.mark.parametrize("key", ["stem", "block"])
def test_resnet_refuses_an_unknown_part_by_name(key: str) -> None:
    with pytest.raises(UsageError, match=f"model.{key} 'huge': choose one of"):
        ResNet(10, lambda _: nn.ReLU(), depths=[1], widths=[8], **{key: "huge"})


def test_mobilenetv2_skips_where_stride_is_1_and_width_stays(build: Callable) -> None:
    with torch.device("meta"):
        network = build("model=mobilenetv2")
    skips = [[unit.combine is torch.add for unit in stage] for stage in network.stages]
    assert skips == [[False], *([False] + [True] * n for n in (1, 2, 3, 2, 2)), [False]]


@pytest.mark.parametrize("number", range(8))
def test_efficientnets_drop_as_torchvisions_do(efficientnet: Callable, number: int) -> None:
    ours, theirs = efficientnet(number)
    drops, all_drops = (
        [module.p for module in network.modules() if isinstance(module, StochasticDepth)]
        for network in (ours, theirs)
    )
    skips = [unit.combine is torch.add for stage in ours.stages for unit in stage]
    assert drops == pytest.approx([p for p, skip in zip(all_drops, skips, strict=True) if skip and p])
    assert ours.classifier.dropout.p == theirs.classifier[0].p


def test_networks_without_a_rate_have_nothing_that_drops(build: Callable) -> None:
    with torch.device("meta"):
        network = build("model=mobilenetv2")
    assert not any(isinstance(module, nn.Dropout | StochasticDepth) for module in network.modules())


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_a_stochastic_depth_outside_its_range_is_refused(build: Callable, rate: float) -> None:
    with pytest.raises(UsageError, match="stochastic_depth"):
        build("model=efficientnet_b0", f"model.stochastic_depth={rate}")


def test_residual_unit_puts_each_part_in_its_place() -> None:
    class Record(nn.Module):
        def __init__(self, factor: int) -> None:
            super().__init__()
            self.factor = factor

        def forward(self, x: Tensor) -> Tensor:
            return self.factor * x + 1

    slots = {
        name: Record(factor)
        for name, factor in zip(["pre", "standard", "identity", "post"], [2, 3, 5, 7], strict=True)
    }
    x = torch.ones(1, 1, 1, 1)
    unit = ResidualUnit(Record(11), Record(13), act=Record(17), slots=slots)
    # branch: 3·(11·(2x + 1) + 1) + 1 = 103; shortcut: 5·(13x + 1) + 1 = 71
    assert unit(x).item() == 7 * (17 * (103 + 71) + 1) + 1
    assert ResidualUnit(Record(11), combine=concat)(x).flatten().tolist() == [1, 12]
    assert ResidualUnit(Record(11), combine=branch_alone)(x).item() == 12


def test_published_densenet_has_the_activation_under_test_at_its_last_site_only(build: Callable) -> None:
    with torch.device("meta"):
        network = build("model=published/densenet121", "activation=tact")
    assert learnable(network) == ["head.act"]
    assert sum(type(module) is nn.ReLU for module in network.modules()) == 116
    for stage in network.stages[:3]:
        assert [type(layer) for layer in stage.transition] == [
            nn.BatchNorm2d,
            nn.Identity,
            nn.Conv2d,
            nn.AvgPool2d,
        ]


def test_published_densenet_refuses_more_classes_than_logits() -> None:
    with pytest.raises(UsageError, match="100 logits"):
        published.DenseNet(101, lambda _: nn.ReLU(), depths=[1, 1])


def test_published_mobilenetv2_shares_one_activation_per_unit_and_one_outside(build: Callable) -> None:
    with torch.device("meta"):
        network = build("model=published/mobilenetv2", "activation=tact")
    units = [unit for stage in network.stages for unit in stage]
    assert network.stem.act1 is network.head.act1
    assert all(unit.branch.act1 is unit.branch.act2 for unit in units)
    assert len(learnable(network)) == len(units) + 1 == 18


def test_published_mobilenetv2_quirks(build: Callable) -> None:
    with torch.device("meta"):
        network = build("model=published/mobilenetv2", "activation=relu")
        assert network.stem(torch.randn(1, 3, 32, 32)).shape == (1, 32, 34, 34)
    modules = list(network.modules())
    assert not any(type(module) is nn.ReLU for module in modules)
    assert sum(type(module) is nn.ReLU6 for module in modules) == 18
    assert all(module.bias is not None for module in modules if isinstance(module, nn.Conv2d))
    assert network.stages[0][0].branch.conv1.out_channels == 32  # expands even by 1
    assert [stage[0].branch.conv2.stride[0] for stage in network.stages] == [1, 2, 2, 2, 1, 1, 1]


def test_published_senet_shares_one_activation_per_unit(build: Callable) -> None:
    with torch.device("meta"):
        network = build("model=published/senet18", "activation=tact")
    units = [unit for stage in network.stages for unit in stage]
    for unit in units:
        sites = [unit.branch.act1, unit.branch.act2, unit.standard.excite.act1, unit.act]
        assert all(site is unit.act for site in sites)
    assert len(learnable(network)) == len(units) + 1 == 9
    assert [stage[0].standard.excite.fc1.out_features for stage in network.stages] == [4, 8, 16, 32]


@pytest.mark.parametrize(
    "make",
    [
        lambda act_layer: published.MobileNetV2(10, act_layer, [[1, 8, 1, 1]]),
        lambda act_layer: published.SENet(10, act_layer, [1], [16]),
    ],
)
def test_sites_that_share_refuse_coefficients_per_channel(make: Callable) -> None:
    with pytest.raises(UsageError, match="per_channel"):
        make(lambda channels: TAct(channels, 0.2, 0.2, per_channel=True))


def test_standard_networks_take_coefficients_per_channel(build: Callable) -> None:
    network = build("model=mobilenetv2", "activation=tact", "activation.per_channel=true")
    assert network.stem.act1.alpha.shape == (32,)
    assert network.head.act1.alpha.shape == (1280,)
    assert network(torch.randn(2, 3, 8, 8)).shape == (2, 10)


@pytest.mark.parametrize("model", MODELS)
def test_yaml_opens_with_its_source_and_names_itself(model: str, config: Callable) -> None:
    first = (CONF / "model" / f"{model}.yaml").read_text().splitlines()[0]
    node = config(f"model={model}").model
    assert re.match("# .*(arXiv|public repository)", first)
    assert node["name"] == ("seresnet50" if model == "timm" else model)
    assert node["label"]
    assert "reference" not in node or node["reference"].keys() >= {"source"}
