import pytest
import torch
from torch import nn

from senet_lab.networks.cond_conv import CondConv2d
from senet_lab.networks.initialise import INITS


@pytest.mark.parametrize("layer", [nn.Conv2d, CondConv2d])
def test_he_is_pytorchs_kaiming_normal_by_fan_out(layer: type[nn.Conv2d]) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(layer(32, 64, 3), nn.BatchNorm2d(64), nn.Linear(64, 64))
    linear = network[2].weight.clone()
    INITS["he"](network)
    want = nn.init.kaiming_normal_(torch.empty(64, 32, 3, 3), mode="fan_out", nonlinearity="relu")
    torch.testing.assert_close(network[0].weight.std(), want.std(), rtol=0.03, atol=0)
    assert network[0].bias.count_nonzero() == 0
    assert torch.equal(network[2].weight, linear)
