import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from senet_lab.networks.activations import TAct, as_site
from senet_lab.networks.densenet import DenseNet
from senet_lab.networks.inspection import (
    between,
    class_activation_maps,
    excitations,
    feature_reuse,
    noisy_errors,
    shapes,
)
from senet_lab.networks.resnet import ResNet
from senet_lab.networks.signals import MEASURES, SAMPLE, signals
from senet_lab.networks.squeeze_excite import Placement


def relu(channels: int) -> nn.Module:
    return as_site(nn.ReLU())


def batches_of(count: int = 6, classes: int = 3) -> list[tuple[Tensor, Tensor]]:
    draws = torch.Generator().manual_seed(0)
    images = torch.randn(count, 3, 8, 8, generator=draws)
    labels = torch.arange(count) % classes
    return [(images[: count // 2], labels[: count // 2]), (images[count // 2 :], labels[count // 2 :])]


def test_excitations_are_the_mean_gates_of_each_class() -> None:
    torch.manual_seed(0)
    network = ResNet(3, relu, depths=[1, 1], widths=[8, 16], se=Placement([3], reduction=2)).eval()
    images, labels = torch.randn(7, 3, 8, 8), torch.tensor([0, 1, 0, 1, 1, 0, 0])
    batches = [(images[:4], labels[:4]), (images[4:], labels[4:])]
    got = pd.DataFrame(excitations(network, batches, num_classes=3))
    assert set(got["block"]) == {"stages.1.0.standard"}
    unit = network.stages[1][0]
    with torch.no_grad():
        squeezed = unit.branch(network.stages[0](network.stem(images))).mean(dim=(2, 3))
        gates = torch.sigmoid(unit.standard.excite(squeezed))
    table = got.pivot(index="channel", columns="class", values="gate")
    means = [gates[labels == number].mean(0).numpy() for number in (0, 1)]
    np.testing.assert_allclose(table[["class 0", "class 1"]].to_numpy(), np.stack(means, 1), rtol=1e-5)
    np.testing.assert_allclose(table["all"], (means[0] + means[1]) / 2, rtol=1e-5)
    assert table["class 2"].isna().all()  # no image of this class


def test_feature_reuse_is_the_mean_weight_from_each_source() -> None:
    network = DenseNet(5, relu, depths=[2, 3], growth_rate=4)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        # The second layer of the first block looks at the first one's four channels with −3 alone.
        network.stages[0].get_submodule("1").branch.conv1.weight[:, 8:] = -3
        network.classifier.fc.weight[:] = 1
    table = pd.DataFrame(feature_reuse(network))
    first, second = (
        part.pivot(index="source", columns="target", values="weight") for _, part in table.groupby("block")
    )
    assert first.columns.tolist() == ["01", "02", "out"]
    assert second.index.tolist() == ["00", "01", "02", "03"]
    assert first.loc["01", "02"] == 3
    assert np.nansum(first.to_numpy()) == 3
    assert first.isna().to_numpy().tolist() == np.tri(3, k=-1, dtype=bool).tolist()
    assert second["out"].tolist() == [1, 1, 1, 1]


def test_a_class_activation_map_averages_to_the_logit() -> None:
    torch.manual_seed(0)
    network = ResNet(6, relu, depths=[1, 1], widths=[8, 16]).eval()
    images = torch.randn(3, 3, 8, 8)
    maps, predicted = class_activation_maps(network, images)
    with torch.no_grad():
        logits: Tensor = network(images)
    assert maps.shape == (3, 4, 4)
    assert torch.equal(predicted, logits.argmax(1))
    best = logits.max(1).values - network.classifier.fc.bias[predicted]
    torch.testing.assert_close(maps.mean(dim=(1, 2)), best)


def test_a_network_without_se_has_no_excitations() -> None:
    network = ResNet(3, relu, depths=[1], widths=[8])
    assert excitations(network, batches_of(), 3) == []


def test_shapes_are_those_of_the_coefficients() -> None:
    x = np.linspace(-3, 3, 7)
    learned = {"one": {"alpha": 0.5, "beta": 0.0}, "two": {"alpha": 1.0, "beta": 2.0}}
    table = pd.DataFrame(shapes(lambda channels: as_site(TAct(channels, 0.0, 0.0)), learned, x))
    one, two = (part for _, part in table.groupby("curve"))
    sigmoid = 1 / (1 + np.exp(-x))
    np.testing.assert_allclose(one["y"], (0.5 * x + 0.5) * sigmoid)
    np.testing.assert_allclose(one["slope"], 0.5 * sigmoid + (0.5 * x + 0.5) * sigmoid * (1 - sigmoid))
    np.testing.assert_allclose(two["y"], x / (1 + np.exp(-3 * x)))


class Affine(nn.Module):
    """Images (N, 3, 8, 8) to logits (N, 3), by known numbers through one activation."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([1.0, 2.0, -1.0]))
        self.shift = nn.Parameter(torch.tensor([0.0, -100.0, 0.0]))
        self.act = as_site(nn.ReLU(inplace))

    def forward(self, images: Tensor) -> Tensor:
        given = images * self.scale[:, None, None] + self.shift[:, None, None]
        return self.act(given).mean(dim=(2, 3))


@pytest.mark.parametrize("inplace", [False, True])
def test_signals_are_statistics_before_the_activation_and_dead_channels_behind_it(inplace: bool) -> None:
    network, batches = Affine(inplace), batches_of()
    table = pd.DataFrame(signals(network, batches))
    assert table[["site", "depth"]].to_numpy().tolist() == [["act", 1]]
    images = torch.cat([images for images, _ in batches]).double()
    given = images * network.scale[:, None, None] + network.shift[:, None, None]
    values = given.detach().numpy()
    quantiles = np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95])
    dead = 1 / 3  # the second channel never gets above zero
    expected = [values.mean(), values.std(), *quantiles, dead]
    assert table[list(MEASURES)].iloc[0].tolist() == pytest.approx(expected, rel=1e-5)


def test_signals_of_large_maps_are_those_of_a_sample() -> None:
    """Stripes, of which evenly spaced places would see one kind alone."""
    network = Affine()
    with torch.no_grad():
        network.scale.fill_(1)
        network.shift.zero_()
    images = torch.ones(64, 3, 32, 32)
    images[..., ::2] = -1
    assert images[0].numel() > SAMPLE
    (row,) = signals(network, [(images, torch.zeros(64))])
    assert abs(row["mean"]) < 0.02
    assert [row[name] for name in ("q05", "q25", "q75", "q95")] == [-1, -1, 1, 1]


def test_signals_come_in_the_order_of_the_forward_pass() -> None:
    network = ResNet(3, relu, depths=[1, 1], widths=[8, 16])
    table = pd.DataFrame(signals(network, batches_of()))
    assert table["depth"].tolist() == list(range(1, len(table) + 1))
    assert table["site"].iloc[0] == "stem.act1"
    assert table["site"].iloc[-1].startswith("stages.1.")
    assert not network.training


def test_noise_raises_the_error_from_the_clean_one() -> None:
    images, _ = batches_of(60)[0]
    network = Affine()
    with torch.no_grad():
        network.scale.fill_(1)
        network.shift.zero_()
        labels = network(images).argmax(1)
    table = pd.DataFrame(noisy_errors(network, lambda: [(images, labels)], [0.0, 0.1, 100.0], seed=1))
    assert table["noise"].tolist() == [0.0, 0.1, 100.0]
    errors = table["error"].tolist()
    assert errors[0] == 0
    assert errors == sorted(errors)
    assert errors[2] > 0.3
    again = noisy_errors(network, lambda: [(images, labels)], [0.1], seed=1)
    assert again == [{"noise": 0.1, "error": errors[1]}]


def test_between_two_runs_lie_their_own_losses_at_both_ends() -> None:
    torch.manual_seed(0)
    networks = [ResNet(3, relu, depths=[1], widths=[8]) for _ in range(2)]
    batches = batches_of()

    def loss(network: nn.Module) -> float:
        torch.optim.swa_utils.update_bn(batches, network)
        network.eval()
        with torch.no_grad():
            parts = [nn.functional.cross_entropy(network(x), y, reduction="sum").item() for x, y in batches]
        return sum(parts) / 6

    first, second = (
        {name: value.clone() for name, value in network.state_dict().items()} for network in networks
    )
    places = [0.0, 0.5, 1.0]
    table = pd.DataFrame(between(networks[0], first, second, places, lambda: batches, lambda: batches))
    ends = []
    for state in (first, second):
        networks[0].load_state_dict(state)
        ends.append(loss(networks[0]))
    assert table["place"].tolist() == places
    assert table["loss"].tolist()[::2] == pytest.approx(ends, rel=1e-6)
    assert table["error"].between(0, 1).all()
