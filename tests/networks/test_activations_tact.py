"""TAct and mTAct: their coefficients, their sums, their gradients written out."""

import pytest
import torch
from support import compiled_steps, distances_of_tact
from torch import Tensor, nn
from torch.func import functional_call

from senet_lab.networks.activations import MTAct, TAct

ALPHA, BETA = 0.3, 0.2
LEARNABLE = [TAct, MTAct]


def tact_as_published(x: Tensor, alpha: float, beta: float) -> Tensor:
    a, b, c = alpha / 2, (1 - alpha) / 2, (1 + beta) / 2
    return (a * x + b) * (torch.tanh(c * x) + 1)


@pytest.mark.parametrize("kind", LEARNABLE)
def test_closed_form_with_exact_coefficients(kind: type[TAct]) -> None:
    x = torch.linspace(-12, 12, 481, dtype=torch.float64).reshape(1, 1, 37, 13)
    alpha, beta = 0.375, 0.125  # exact in float32
    power = 2 if kind is MTAct else 1
    want = tact_as_published(x, alpha**power, beta**power)
    torch.testing.assert_close(kind(1, alpha, beta)(x), want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", LEARNABLE)
@pytest.mark.parametrize("shape", [(3, 4, 2, 3), (5, 4)])
@pytest.mark.parametrize("per_channel", [False, True])
def test_gradients_of_x_alpha_and_beta(kind: type[TAct], shape: tuple[int, ...], per_channel: bool) -> None:
    torch.manual_seed(0)
    act = kind(4, ALPHA, BETA, per_channel=per_channel).double()
    x = (3 * torch.randn(shape, dtype=torch.float64)).requires_grad_()
    alpha, beta = (torch.rand_like(c).requires_grad_() for c in (act.alpha, act.beta))
    assert alpha.shape == ((4,) if per_channel else ())

    def apply(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
        return functional_call(act, {"alpha": alpha, "beta": beta}, x)

    assert torch.autograd.gradcheck(apply, (x, alpha, beta))
    assert torch.autograd.gradgradcheck(apply, (x, alpha, beta))


@pytest.mark.parametrize("kind", LEARNABLE)
def test_second_derivatives_where_the_incoming_gradient_needs_none(kind: type[TAct]) -> None:
    act = kind(4, 0.375, 0.125)  # exact in float32
    x = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    power = 2 if kind is MTAct else 1
    results = []
    for y in (act(x), tact_as_published(x, 0.375**power, 0.125**power)):
        (slope,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        results.append(torch.autograd.grad(slope.square().sum(), x)[0])
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", LEARNABLE)
@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool])
def test_integers_are_refused(kind: type[TAct], dtype: torch.dtype) -> None:
    with pytest.raises(TypeError, match=f"Act: takes floating-point values, not {dtype}"):
        kind(4, 0.25, 0.5)(torch.ones(2, 4, dtype=dtype))


@pytest.mark.parametrize("kind", LEARNABLE)
def test_per_channel_with_equal_coefficients_is_the_scalar_form(kind: type[TAct]) -> None:
    x = torch.randn(2, 4, 3, 3)
    scalar, channels = kind(4, ALPHA, BETA), kind(4, ALPHA, BETA, per_channel=True)
    for act in (scalar, channels):
        act(x).square().sum().backward()
    torch.testing.assert_close(channels(x), scalar(x))
    torch.testing.assert_close(channels.alpha.grad.sum(), scalar.alpha.grad)
    torch.testing.assert_close(channels.beta.grad.sum(), scalar.beta.grad)


@pytest.mark.parametrize("kind", LEARNABLE)
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_keeps_x_alone_for_backward(kind: type[TAct], per_channel: bool, dtype: torch.dtype) -> None:
    act = kind(8, ALPHA, BETA, per_channel=per_channel)
    x = torch.randn(2, 8, 16, 16, dtype=dtype, requires_grad=True)
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        act(x)
    maps = [tensor for tensor in kept if tensor.numel() > 8]
    assert [tensor.data_ptr() for tensor in maps] == [x.data_ptr()]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sums_for_alpha_and_beta_run_in_float32(dtype: torch.dtype) -> None:
    x = torch.full((1, 1, 256, 256), 3.0, dtype=dtype)
    act = TAct(1, 0.25, 0.0)
    act(x).backward(torch.ones_like(x))
    gate = torch.sigmoid(torch.tensor(3.0, dtype=torch.float64))
    want_alpha = x.numel() * (3 - 1) * gate
    want_beta = x.numel() * (0.25 * 3 + 0.75) * gate * (1 - gate) * 3
    torch.testing.assert_close(act.alpha.grad.double(), want_alpha, rtol=1e-5, atol=0)
    torch.testing.assert_close(act.beta.grad.double(), want_beta, rtol=1e-5, atol=0)
    half = ((x - 1) * torch.sigmoid(x)).sum().double()  # the same sum in x's own precision is off
    assert not torch.isclose(half, want_alpha, rtol=1e-4)


def test_under_autocast_the_coefficients_stay_float32() -> None:
    act = TAct(4, ALPHA, BETA)
    conv = nn.Conv2d(3, 4, 3)
    with torch.autocast("cpu", torch.bfloat16):
        y = act(conv(torch.randn(2, 3, 8, 8)))
    y.float().sum().backward()
    assert y.dtype == torch.bfloat16
    assert act.alpha.grad.dtype == torch.float32
    assert conv.weight.grad.isfinite().all()


@pytest.mark.parametrize("kind", LEARNABLE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_compiles_into_one_graph_with_the_same_gradients(kind: type[TAct], dtype: torch.dtype) -> None:
    act = kind(4, ALPHA, BETA)
    x = torch.randn(2, 4, 3, 3).to(dtype).requires_grad_()
    results = []
    for apply in (act, torch.compile(act, backend="aot_eager", fullgraph=True)):
        y = apply(x)
        results.append((y, *torch.autograd.grad(y.float().square().sum(), (x, act.alpha, act.beta))))
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("kind", LEARNABLE)
def test_compiled_graphs_write_nothing_in_place(kind: type[TAct]) -> None:
    """Up to torch 2.11, that in an autograd.Function makes all gradients before it zero."""
    steps = compiled_steps(kind(4, ALPHA, BETA), torch.randn(2, 4, requires_grad=True))
    assert "sigmoid" in steps
    assert not any(step.endswith("_") or "function_apply" in step for step in steps)


@pytest.mark.parametrize("size", [0.01, 1.0, 5.0])
def test_the_bounds_of_tact_follow_the_gradient(size: float) -> None:
    """A float32 calculation is within the bounds of `distances_of_tact`, a slightly wrong one is not."""
    x, grad = 3 * torch.randn(5, 4, 25, 20), size * torch.randn(5, 4, 25, 20)
    act = TAct(4, ALPHA, BETA)
    assert max(distances_of_tact(act, x, grad, once=0.0)) < 1

    class Wrong(TAct):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(1.001 * x)

    act.__class__ = Wrong
    assert min(distances_of_tact(act, x, grad, once=0.0)[:2]) > 1


def test_coefficients_that_do_not_learn_are_buffers() -> None:
    act = TAct(4, ALPHA, BETA, learnable=False)
    assert list(act.parameters()) == []
    assert set(act.state_dict()) == {"alpha", "beta"}
    x = torch.randn(2, 4, requires_grad=True)
    act(x).sum().backward()
    assert x.grad is not None
