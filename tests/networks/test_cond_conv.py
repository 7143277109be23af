import pytest
import torch
from torch import nn
from torch.nn import functional as F

from senet_lab.networks.cond_conv import CondConv2d

CASES = [
    {"out_channels": 6, "kernel_size": 3, "padding": 1, "bias": False},
    {"out_channels": 6, "kernel_size": 3, "stride": 2, "padding": 1, "dilation": 2},
    {"out_channels": 4, "kernel_size": 3, "padding": 1, "groups": 4},
    {"out_channels": 8, "kernel_size": 1, "groups": 2, "bias": False},
]


@pytest.mark.parametrize("arguments", CASES)
@pytest.mark.parametrize("experts", [1, 4])
def test_equals_each_images_convolution_with_its_mixed_weights(arguments: dict, experts: int) -> None:
    torch.manual_seed(0)
    layer = CondConv2d(4, experts=experts, **arguments).double()
    x = torch.randn(3, 4, 7, 5, dtype=torch.float64, requires_grad=True)
    mix = torch.sigmoid(x.mean(dim=(2, 3)) @ layer.routing.weight.T + layer.routing.bias)
    singles = []
    sets = layer.weight.view(experts, *nn.Conv2d(4, **arguments).weight.shape)
    for image, shares in zip(x, mix, strict=True):
        weight = sum(share * w for share, w in zip(shares, sets, strict=True))
        bias = None
        if layer.bias is not None:
            bias = sum(share * b for share, b in zip(shares, layer.bias, strict=True))
        conv = (layer.stride, layer.padding, layer.dilation, layer.groups)
        singles.append(F.conv2d(image[None], weight, bias, *conv))
    want = torch.cat(singles)
    torch.testing.assert_close(layer(x), want)
    direction = torch.randn_like(want)
    parameters = [x, *layer.parameters()]
    for got, gradient in zip(
        torch.autograd.grad((layer(x) * direction).sum(), parameters),
        torch.autograd.grad((want * direction).sum(), parameters),
        strict=True,
    ):
        torch.testing.assert_close(got, gradient)


def test_one_convolution_a_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = F.conv2d
    monkeypatch.setattr(F, "conv2d", lambda *a, **k: calls.append(k["groups"]) or real(*a, **k))
    CondConv2d(4, 4, 3, padding=1, groups=4)(torch.randn(5, 4, 6, 6))
    assert calls == [5 * 4]


def test_each_expert_starts_as_a_convolution_of_its_own() -> None:
    torch.manual_seed(0)
    layer, conv = CondConv2d(16, 32, 3, experts=4), nn.Conv2d(16, 32, 3)
    assert layer.weight.shape == (4, conv.weight.numel())
    assert not torch.equal(layer.weight[0], layer.weight[1])
    for weight in layer.weight:
        torch.testing.assert_close(weight.std(), conv.weight.std(), rtol=0.05, atol=0)


def test_computes_under_autocast_in_channels_last() -> None:
    layer = CondConv2d(8, 8, 3, padding=1).to(memory_format=torch.channels_last)
    x = torch.randn(2, 8, 6, 6).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), layer(x), rtol=0.1, atol=0.05)
