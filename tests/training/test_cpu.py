"""The CPU's fast paths have the values of the plain layers."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from senet_lab.networks.activations import TAct
from senet_lab.networks.pieces import PIECE
from senet_lab.training import cpu
from senet_lab.training.engine import Engine

# In float64 both paths round at 1e-16; sums here have at most 2,000 terms of size 1.
CLOSE = {"rtol": 0, "atol": 1e-12}


def assert_same(plain: nn.Module, image: tuple[int, int, int, int], kind: type[nn.Module]) -> None:
    """Outputs and all gradients of `plain` and its fast copy, in both layouts."""
    plain = plain.double()
    fast = copy.deepcopy(plain).to(memory_format=torch.channels_last)
    cpu.use_fast_layers(fast)
    assert type(fast) is kind
    one = torch.randn(image, dtype=torch.float64, requires_grad=True)
    other = one.detach().clone(memory_format=torch.channels_last).requires_grad_()
    out, fast_out = plain(one), fast(other)
    torch.testing.assert_close(fast_out, out, **CLOSE)
    grad = torch.randn_like(out)
    out.backward(grad)
    fast_out.backward(grad)
    assert one.grad is not None
    torch.testing.assert_close(other.grad, one.grad, **CLOSE)
    for (name, parameter), twin in zip(plain.named_parameters(), fast.parameters(), strict=True):
        torch.testing.assert_close(twin.grad, parameter.grad, msg=name, **CLOSE)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("stride", [1, 2, (1, 2)])
@pytest.mark.parametrize("size", [1, 2, 3, 6])
@pytest.mark.parametrize(
    "layer",
    [
        {"out_channels": 10, "kernel_size": 3, "padding": 1},
        {"out_channels": 10, "kernel_size": 1},
        {"out_channels": 6, "kernel_size": 3, "padding": 1, "groups": 6},
        {"out_channels": 6, "kernel_size": 1, "groups": 6},
        {"out_channels": 12, "kernel_size": 3, "padding": 1, "groups": 2},
        {"out_channels": 10, "kernel_size": 5, "padding": 2},
        {"out_channels": 10, "kernel_size": 1, "padding": 1},
    ],
)
def test_a_fast_convolution_is_the_plain_one(
    layer: dict[str, int], size: int, stride: int | tuple[int, int], bias: bool
) -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(6, stride=stride, bias=bias, **layer)
    assert_same(plain, (5, 6, size, size), cpu.FastConv2d)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(6, 4, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(6, 4, 3, padding=2, dilation=2),
    ],
)
def test_other_kinds_of_convolution_are_left_alone(layer: nn.Conv2d) -> None:
    assert_same(layer, (2, 6, 4, 4), nn.Conv2d)


def test_padding_by_name_and_maps_that_are_not_square() -> None:
    assert_same(nn.Conv2d(6, 4, 3, padding="same"), (2, 6, 2, 2), cpu.FastConv2d)
    assert_same(nn.Conv2d(6, 4, 3, padding=1), (2, 6, 1, 2), cpu.FastConv2d)
    assert_same(nn.Conv2d(6, 6, 3, padding=1, groups=6), (2, 6, 1, 2), cpu.FastConv2d)


def test_the_fast_average_is_the_plain_one() -> None:
    assert_same(nn.AdaptiveAvgPool2d(1), (3, 6, 4, 4), cpu.FastAvgPool2d)


def test_a_tiny_map_is_one_product(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fast paths are taken: no convolution runs on these shapes."""
    fast = nn.Conv2d(6, 4, 3, padding=1)
    cpu.use_fast_layers(fast)
    monkeypatch.setattr(torch.nn.functional, "conv2d", None)
    for size in (1, 2):
        assert fast(torch.randn(3, 6, size, size)).shape == (3, 4, size, size)


@pytest.mark.parametrize("last", [nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 4, 1, stride=2)])
def test_gradients_stay_in_channels_last(last: nn.Module) -> None:
    """The backward passes of batch norm and activations are several times slower where they do not."""
    x = torch.randn(4, 6, 2, 2).contiguous(memory_format=torch.channels_last).requires_grad_()
    fast = nn.Sequential(nn.Conv2d(6, 8, 3, padding=1), copy.deepcopy(last))
    cpu.use_fast_layers(fast)
    hidden = fast[0](x)
    seen = [hidden]
    hidden.register_hook(seen.append)
    fast[1](hidden).square().sum().backward()
    assert len(seen) == 2
    for tensor in seen:
        assert tensor.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("per_channel", [False, True])
def test_tact_in_pieces_is_tact(
    dtype: torch.dtype, per_channel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each element is computed alike; the sums for α and β are added up in another order."""
    torch.manual_seed(0)
    act = TAct(4, 0.25, 0.5, per_channel=per_channel)
    grad = torch.randn(7, 4, 5, 5).to(dtype)
    x = torch.randn(7, 4, 5, 5).to(dtype).requires_grad_()
    results = []
    for piece in (1 << 16, 2 * 4 * 5 * 5):  # all at once; two images at a time, and a last one
        monkeypatch.setattr("senet_lab.networks.pieces.PIECE", piece)
        out = act(x)
        results.append((out, *torch.autograd.grad(out, (x, act.alpha, act.beta), grad)))
    (out, grad_x, *sums), (out_2, grad_x_2, *sums_2) = results
    bits = {torch.float32: 1e-6, torch.bfloat16: 2**-8}[dtype]
    torch.testing.assert_close(out, out_2, rtol=bits, atol=bits)
    torch.testing.assert_close(grad_x, grad_x_2, rtol=bits, atol=bits)
    for one, other in zip(sums, sums_2, strict=True):
        # Of 700 float32 terms below 20.
        torch.testing.assert_close(one, other, rtol=0, atol=700 * 20 * 6e-8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_fast_mish_is_mish(dtype: torch.dtype) -> None:
    """Against float64 over all magnitudes, value and slope; bfloat16 rounds once, at the end."""
    fast = nn.Mish()
    cpu.use_fast_layers(fast)
    assert type(fast) is cpu.FastMish
    x = torch.cat([torch.linspace(-100, 100, 90_001), torch.tensor([-1e4, -0.0, 1e4])]).to(dtype)
    x.requires_grad_()
    exact = x.detach().double().requires_grad_()
    value = exact * torch.tanh(F.softplus(exact))
    out = fast(x)
    (slope,) = torch.autograd.grad(out.sum(), x)
    (exact_slope,) = torch.autograd.grad(value.sum(), exact)
    # Some ten operations of half a rounding each.
    close = {torch.float32: 10 * 2.0**-24, torch.bfloat16: 2.0**-8}[dtype]
    torch.testing.assert_close(out.double(), value, rtol=close, atol=1e-30)
    torch.testing.assert_close(slope.double(), exact_slope, rtol=close, atol=close)


@pytest.mark.parametrize(
    ("plain", "image"),
    [
        (nn.Conv2d(3, 3, 3, padding=1, groups=3, bias=False), (2, 3, 2, 2)),
        (nn.Conv2d(3, 3, 3, padding=1, groups=3, stride=2, bias=False), (2, 3, 4, 4)),
        (nn.Conv2d(3, 2, 3, padding=1, bias=False), (2, 3, 2, 2)),
        (nn.Conv2d(3, 2, 1, stride=2, bias=False), (2, 3, 4, 4)),
    ],
    ids=["tiny depthwise", "strided depthwise", "tiny", "pointwise"],
)
def test_second_derivatives_of_the_fast_convolutions(plain: nn.Module, image: tuple[int, ...]) -> None:
    """Also where the incoming gradient is a constant: a detached result would be wrong unnoticed."""
    torch.manual_seed(0)
    plain = plain.double()
    fast = copy.deepcopy(plain)
    cpu.use_fast_layers(fast)
    x = torch.randn(image, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x, *_: fast(x).square(), (x, *fast.parameters()))
    results = []
    for network in (fast, plain):
        inputs = (x, *network.parameters())
        slopes = torch.autograd.grad(network(x).sum(), inputs, create_graph=True)
        total = torch.stack([slope.square().sum() for slope in slopes]).sum()
        results.append(torch.autograd.grad(total, inputs))
    torch.testing.assert_close(*results, **CLOSE)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_second_derivatives_of_the_fast_mish(dtype: torch.dtype) -> None:
    fast, results = nn.Sequential(nn.Mish()), []
    cpu.use_fast_layers(fast)
    x = torch.linspace(-4, 4, 33).to(dtype).requires_grad_()
    for y in (fast(x), F.mish(x)):
        (slope,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        results.append(torch.autograd.grad(slope.sum(), x)[0])
    close = {torch.float64: 1e-12, torch.bfloat16: 2.0**-6}[dtype]
    torch.testing.assert_close(*results, rtol=close, atol=close)
    assert results[0].abs().max() > 0.5


def test_the_fast_mish_refuses_integers() -> None:
    fast = nn.Sequential(nn.Mish())
    cpu.use_fast_layers(fast)
    with pytest.raises(TypeError, match="FastMish: takes floating-point values"):
        fast(torch.arange(3))


def test_a_compiled_network_keeps_the_plain_layers_but_mish() -> None:
    """Up to torch 2.11, other compiled fast layers would have zero gradients."""
    layers = (nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.Mish(), nn.AdaptiveAvgPool2d(1))
    for compiled in (True, False):
        network = nn.Sequential(*copy.deepcopy(layers))
        Engine(torch.device("cpu"), "float32", False, compiled=compiled).place(network)
        kept = [type(layer) is type(plain) for layer, plain in zip(network, layers, strict=True)]
        assert kept == [compiled, False, compiled]


@pytest.mark.parametrize(
    "layout",
    [
        lambda x: x,
        lambda x: x.contiguous(memory_format=torch.channels_last),
        lambda x: x.transpose(0, 3).contiguous().transpose(0, 3),
        lambda x: torch.stack((x, x), dim=-1)[..., 0],
    ],
)
@pytest.mark.parametrize("kind", [nn.Mish, TAct])
def test_pieces_of_any_layout(kind: type[nn.Module], layout: Callable[[Tensor], Tensor]) -> None:
    """However the input lies in memory, and whether or not its gradient lies alike."""
    act = nn.Mish() if kind is nn.Mish else TAct(8, 0.25, 0.5)
    fast = nn.Sequential(act)
    cpu.use_fast_layers(fast)
    x = layout(torch.randn(9, 8, 50, 50)).requires_grad_()  # more than one piece
    assert x.numel() > PIECE
    grad = torch.randn(9, 8, 50, 50)
    exact = x.detach().double().requires_grad_()
    plain = F.mish(exact) if kind is nn.Mish else (0.25 * exact + 0.75) * (1.5 * exact).sigmoid()
    out = fast(x)
    torch.testing.assert_close(out.double(), plain, rtol=1e-5, atol=1e-5)
    (got,) = torch.autograd.grad(out, x, grad)
    (want,) = torch.autograd.grad(plain, exact, grad.double())
    torch.testing.assert_close(got.double(), want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW])
@pytest.mark.parametrize("amsgrad", [False, True])
def test_the_fast_adam_is_adam(kind: type[torch.optim.Adam], amsgrad: bool) -> None:
    """Weights and state bit by bit, also from a state that plain Adam saved, in whatever layout."""
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(6, 8, 3), nn.Conv2d(8, 8, 1), nn.Flatten(), nn.Linear(32, 3))
    plain.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    fast = copy.deepcopy(plain)
    settings = {"lr": 0.01, "weight_decay": 0.1, "amsgrad": amsgrad, "fused": True}
    one = kind(plain.parameters(), **settings)
    other = kind(fast.parameters(), **settings)
    cpu.use_fast_optimizer(other)
    assert type(other) is cpu.FastAdam
    for step in range(4):
        if step == 2:
            saved = copy.deepcopy(one.state_dict())
            saved["state"][0]["exp_avg"] = saved["state"][0]["exp_avg"].contiguous()
            other.load_state_dict(saved)
        x = torch.randn(5, 6, 4, 4)
        for network, optimizer in ((plain, one), (fast, other)):
            optimizer.zero_grad()
            network(x).square().sum().backward()
            optimizer.step()
        for key, value in plain.state_dict().items():
            assert torch.equal(fast.state_dict()[key], value)
        expected, found = one.state_dict(), other.state_dict()
        assert found["param_groups"] == expected["param_groups"]
        for index, state in expected["state"].items():
            assert state.keys() == found["state"][index].keys()
            for key, value in state.items():
                assert torch.equal(found["state"][index][key], value)
                assert found["state"][index][key].stride() == value.stride()


def test_adam_finds_its_tensors_in_the_order_of_memory() -> None:
    """Where a kernel would copy them, all of them are turned."""
    layer = nn.Conv2d(6, 8, 3).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(layer.parameters(), fused=True)
    cpu.use_fast_optimizer(optimizer)
    layer(torch.randn(2, 6, 4, 4)).sum().backward()
    lists: list[list[Tensor]] = [[] for _ in range(6)]
    optimizer._init_group(optimizer.param_groups[0], *lists)
    for tensors in lists:
        assert all(tensor.is_contiguous() for tensor in tensors)
