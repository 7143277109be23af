import pytest
import torch
from torch import Tensor, nn

from senet_lab.networks.densenet import DenseNet
from senet_lab.networks.inspection import class_activation_maps, excitations, feature_reuse
from senet_lab.networks.resnet import ResNet
from senet_lab.networks.squeeze_excite import Placement


def relu(channels: int) -> nn.Module:
    return nn.ReLU()


def test_excitations_are_the_mean_gates_of_each_class() -> None:
    torch.manual_seed(0)
    network = ResNet(3, relu, depths=[1, 1], widths=[8, 16], se=Placement([3], reduction=2)).eval()
    images, labels = torch.randn(7, 3, 8, 8), torch.tensor([0, 1, 0, 1, 1, 0, 0])
    batches = [(images[:4], labels[:4]), (images[4:], labels[4:])]
    got = excitations(network, batches, num_classes=3)
    assert list(got) == ["stages.1.0.standard"]
    unit = network.stages[1][0]
    with torch.no_grad():
        squeezed = unit.branch(network.stages[0](network.stem(images))).mean(dim=(2, 3))
        gates = torch.sigmoid(unit.standard.excite(squeezed))
    for number in (0, 1):
        torch.testing.assert_close(got["stages.1.0.standard"][number], gates[labels == number].mean(0))
    assert got["stages.1.0.standard"][2].isnan().all()  # no image of this class


def test_feature_reuse_is_the_mean_weight_from_each_source() -> None:
    network = DenseNet(5, relu, depths=[2, 3], growth_rate=4)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        # The second layer of the first block looks at the first one's four channels with −3 alone.
        network.stages[0].get_submodule("1").branch.conv1.weight[:, 8:] = -3
        network.classifier.fc.weight[:] = 1
    first, second = feature_reuse(network)
    assert first.shape == (3, 3)  # the input and two layers, to two layers and the transition
    assert second.shape == (4, 4)
    want = torch.zeros(3, 3)
    want[1, 1] = 3
    torch.testing.assert_close(first.nan_to_num(0), want)
    assert torch.equal(first.isnan(), torch.ones(3, 3).tril(-1).bool())
    assert second[:, -1].tolist() == [1, 1, 1, 1]


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


@pytest.mark.parametrize("network", [lambda: ResNet(3, relu, depths=[1], widths=[8])])
def test_a_network_without_se_has_no_excitations(network) -> None:
    assert excitations(network(), [(torch.randn(2, 3, 8, 8), torch.tensor([0, 1]))], 3) == {}
