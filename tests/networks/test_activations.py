"""Every option of conf/activation: what it computes, from which values, and how it behaves at a site."""

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from conftest import CONF, options
from torch import Tensor, nn

from senet_lab.build import build_act_layer
from senet_lab.errors import UsageError
from senet_lab.files import read_yaml
from senet_lab.networks import published
from senet_lab.networks.activations import (
    MetaAconC,
    activation_sites,
    coefficient_rows,
    coefficients,
)
from senet_lab.networks.activations.elementwise import Elementwise

NAMES = options("activation")
CHANNELS = 8
Array = np.ndarray


def load(name: str) -> dict[str, Any]:
    return read_yaml(CONF / "activation" / f"{name}.yaml")


def activation(name: str, channels: int = CHANNELS, seed: int = 0, **values: Any) -> nn.Module:
    return build_act_layer(load(name) | values, seed)(channels)


def sigma(x: Array) -> Array:
    return (1 + np.tanh(x / 2)) / 2


def softplus(x: Array) -> Array:
    return np.logaddexp(0, x)


def erf(x: Array) -> Array:
    return np.vectorize(math.erf)(x)


def relu(x: Array) -> Array:
    return np.maximum(x, 0)


def gelu(x: Array) -> Array:
    return x * (1 + erf(x / math.sqrt(2))) / 2


def elu(x: Array, alpha: float = 1.0) -> Array:
    return relu(x) + alpha * np.expm1(np.minimum(x, 0) / alpha)


def tact(x: Array, alpha: float, beta: float) -> Array:
    """As published."""
    a, b, c = alpha / 2, (1 - alpha) / 2, (1 + beta) / 2
    return (a * x + b) * (np.tanh(c * x) + 1)


def acon_c(x: Array, p1: float, p2: float, beta: float) -> Array:
    return p1 * x * sigma(beta * (p1 - p2) * x) + p2 * x * sigma(-beta * (p1 - p2) * x)


def pau(x: Array, **values: float) -> Array:
    numerator = sum(values[f"a{power}"] * x**power for power in range(6))
    return numerator / (1 + abs(sum(values[f"b{power}"] * x**power for power in range(1, 5))))


def xielu(x: Array, alpha_p: float, alpha_n: float) -> Array:
    below = (0.5 + softplus(alpha_n)) * (np.expm1(np.minimum(x, 0)) - x)
    return np.where(x > 0, softplus(alpha_p) * x**2, below) + x / 2


def apl(x: Array, **values: float) -> Array:
    return relu(x) + sum(values[f"a{s}"] * relu(values[f"b{s}"] - x) for s in range(1, 6))


def srelu(x: Array, t_left: float, a_left: float, t_right: float, a_right: float) -> Array:
    middle = np.clip(x, t_left, t_right)
    return middle + a_left * np.minimum(x - t_left, 0) + a_right * relu(x - t_right)


SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
PAU = {f"a{power}": value for power, value in enumerate((0.03, 0.5, 1.6, 2.0, 0.9, 0.15))}
PAU |= {f"b{power}": value for power, value in enumerate((0.1, 4.0, -0.2, 0.3), start=1)}
APL = {f"a{s}": value for s, value in enumerate((0.2, -0.15, 0.1, 0.05, -0.2), start=1)}
APL |= {f"b{s}": value for s, value in enumerate((0.6, -0.45, 0.1, -1.3, 1.7), start=1)}

# Each as its paper writes it, and values of its coefficients to try it with.
FORMS: dict[str, tuple[Callable[..., Array], dict[str, float]]] = {
    "acon_c": (acon_c, {"p1": 1.2, "p2": -0.3, "beta": 0.8}),
    "apl": (apl, APL),
    "celu": (elu, {}),
    "elu": (elu, {}),
    "gelu": (gelu, {}),
    "gelu_tanh": (
        lambda x: x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
        {},
    ),
    "hardsigmoid": (lambda x: np.clip(x / 6 + 0.5, 0, 1), {}),
    "hardswish": (lambda x: x * np.clip(x / 6 + 0.5, 0, 1), {}),
    "hardtanh": (lambda x: np.clip(x, -1, 1), {}),
    "identity": (lambda x: x, {}),
    "leaky_relu": (lambda x: np.maximum(x, 0.01 * x), {}),
    "log_sigmoid": (lambda x: -softplus(-x), {}),
    "logish": (lambda x: x * np.log1p(sigma(x)), {}),
    "mish": (lambda x: x * np.tanh(softplus(x)), {}),
    "mtact": (lambda x, alpha, beta: tact(x, alpha**2, beta**2), {"alpha": 0.3, "beta": 0.2}),
    "pau": (pau, PAU),
    "phish": (lambda x: x * np.tanh(gelu(x)), {}),
    "prelu": (lambda x, a: relu(x) - a * relu(-x), {"a": 0.3}),
    "relu": (relu, {}),
    "relu6": (lambda x: np.clip(x, 0, 6), {}),
    "rrelu": (lambda x: relu(x) - (1 / 8 + 1 / 3) / 2 * relu(-x), {}),
    "selu": (lambda x: SELU_SCALE * (relu(x) + SELU_ALPHA * np.expm1(np.minimum(x, 0))), {}),
    "serf": (lambda x: x * erf(softplus(x)), {}),
    "sigmoid": (sigma, {}),
    "smish": (lambda x: x * np.tanh(np.log1p(sigma(x))), {}),
    "snake": (lambda x, a: x + (1 - np.cos(2 * a * x)) / (2 * a), {"a": 0.7}),
    "softplus": (softplus, {}),
    "softsign": (lambda x: x / (1 + abs(x)), {}),
    "squared_relu": (lambda x: relu(x) ** 2, {}),
    "srelu": (srelu, {"t_left": -0.9, "a_left": 0.2, "t_right": 1.3, "a_right": 0.6}),
    "star_relu": (lambda x, s, b: s * relu(x) ** 2 + b, {"s": 0.9, "b": -0.4}),
    "swish": (lambda x: x * sigma(x), {}),
    "swish_beta": (lambda x, beta: x * sigma(beta * x), {"beta": 1.4}),
    "tact": (tact, {"alpha": 0.3, "beta": 0.2}),
    "tanh": (np.tanh, {}),
    "tanhexp": (lambda x: x * np.tanh(np.exp(x)), {}),
    "tanhshrink": (lambda x: x - np.tanh(x), {}),
    "xielu": (xielu, {"alpha_p": 0.2, "alpha_n": -1.0}),
}


@torch.no_grad()
def with_values(act: nn.Module, values: dict[str, float]) -> nn.Module:
    """The activation in float64 for tests, its coefficients set; those per channel grow by channel."""
    act = act.double().eval()
    for name, value in coefficients(act).items():
        growing = 1 + torch.arange(CHANNELS, dtype=torch.float64) / 20
        value.copy_(values[name] * (growing if value.ndim else 1))
    return act


def by_channel(form: Callable[..., Array], act: nn.Module, x: Array) -> Array:
    """The form of x (N, C), with the coefficients that each channel has."""
    own = {name: value.detach().expand(CHANNELS).numpy() for name, value in coefficients(act).items()}
    columns = [form(x[:, c], **{name: value[c] for name, value in own.items()}) for c in range(CHANNELS)]
    return np.stack(columns, 1)


@pytest.mark.parametrize("name", FORMS)
def test_closed_form_and_slope(name: str) -> None:
    """In float64, the slope against differences of the form whose error is of the fourth order."""
    form, values = FORMS[name]
    act = with_values(activation(name), values)
    x = np.linspace(-12, 12, 61 * CHANNELS).reshape(61, CHANNELS) + 0.0137  # no kink within 2h
    given = torch.from_numpy(x).requires_grad_()
    out = act(given)
    np.testing.assert_allclose(out.detach().numpy(), by_channel(form, act, x), rtol=1e-12, atol=1e-12)
    (slope,) = torch.autograd.grad(out.sum(), given)
    h = 1e-4
    differences = sum(
        factor * by_channel(form, act, x + step * h) for step, factor in ((-2, 1), (-1, -8), (1, 8), (2, -1))
    ) / (12 * h)
    np.testing.assert_allclose(slope.numpy(), differences, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_of_input_and_coefficients(name: str) -> None:
    torch.manual_seed(0)
    act = activation(name).double().eval()
    x = (2 * torch.randn(2, CHANNELS, 1, 2, dtype=torch.float64)).requires_grad_()
    names, parameters = zip(*act.named_parameters(), strict=True) if list(act.parameters()) else ((), ())

    def apply(x: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(act, dict(zip(names, values, strict=True)), x)

    assert torch.autograd.gradcheck(apply, (x, *parameters))
    if isinstance(act, Elementwise):
        assert torch.autograd.gradgradcheck(apply, (x, *parameters))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", FORMS)
def test_rounding(name: str, dtype: torch.dtype) -> None:
    """Against float64, near zero and far out."""
    act = activation(name).eval()
    x = torch.cat([torch.linspace(-20, 20, 1000), torch.tensor([-1e4, -300.0, 0.0, 300.0, 1e4, 1e-3] * 4)])
    x = x.to(dtype).reshape(-1, CHANNELS)
    out = act(x).detach().double()
    exact = act.double()(x.double()).detach()
    once = {torch.float32: 2.0**-24, torch.bfloat16: 2.0**-8}[dtype]
    # Ours compute in float32 and round once; some of PyTorch's round in between, to the size of x.
    between = 0.0 if isinstance(act, Elementwise) else once
    bound = once * exact.abs() + between * x.double().abs() + 2.0**-20 * (exact.abs() + x.double().abs())
    assert ((out - exact).abs() <= bound + 2.0**-24).all()


LIMITS = {
    "celu": (-1, 1e4),
    "elu": (-1, 1e4),
    "gelu": (0, 1e4),
    "gelu_tanh": (0, 1e4),
    "hardsigmoid": (0, 1),
    "hardswish": (0, 1e4),
    "hardtanh": (-1, 1),
    "identity": (-1e4, 1e4),
    "leaky_relu": (-100, 1e4),
    "log_sigmoid": (-1e4, 0),
    "logish": (0, 1e4 * math.log(2)),
    "mish": (0, 1e4),
    "phish": (0, 1e4),
    "prelu": (-2500, 1e4),
    "relu": (0, 1e4),
    "relu6": (0, 6),
    "rrelu": (-1e4 * 11 / 48, 1e4),
    "selu": (-1.7580993, 10507.00987),
    "serf": (0, 1e4),
    "sigmoid": (0, 1),
    "smish": (0, 6000),
    "softplus": (0, 1e4),
    "softsign": (-0.9999, 0.9999),
    "squared_relu": (0, 1e8),
    "srelu": (-2000, 1e4),
    "star_relu": (-0.4472, 0.8944e8),
    "swish": (0, 1e4),
    "swish_beta": (0, 1e4),
    "tanh": (-1, 1),
    "tanhexp": (0, 1e4),
    "tanhshrink": (-9999, 9999),
    "xielu": (0.8 * 9999 - 5000, 0.8e8 + 5000),
}


@pytest.mark.parametrize("name", LIMITS)
def test_limits_at_ten_thousand(name: str) -> None:
    x = torch.tensor([[-1e4], [1e4]]).expand(2, CHANNELS).clone()
    got = activation(name).eval()(x)[:, 0].tolist()
    assert got == pytest.approx(LIMITS[name], rel=1e-6)


def test_tact_far_out_is_its_line() -> None:
    far = torch.tensor([[-1e4], [1e4]])
    for name, slope in (("tact", 0.25), ("mtact", 0.25**2)):
        got = activation(name, 1, alpha=0.25, beta=0.5)(far).flatten().tolist()
        assert got == pytest.approx([0, slope * 1e4 + 1 - slope], rel=1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_finite_far_out_and_keeps_dtype_and_layout(name: str, dtype: torch.dtype) -> None:
    x = torch.cat([torch.linspace(-1e4, 1e4, 4000), torch.linspace(-100, 100, 96)]).to(dtype)
    x = x.reshape(2, CHANNELS, 16, 16).contiguous(memory_format=torch.channels_last).requires_grad_()
    act = activation(name)
    y = act(x)
    y.float().sum().backward()
    assert y.shape == x.shape
    assert y.dtype == dtype
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert y.isfinite().all()
    assert x.grad.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in act.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_the_hidden_layer_of_a_gate_has_vectors(name: str) -> None:
    act = activation(name).eval()
    x = torch.randn(3, CHANNELS)
    torch.testing.assert_close(act(x), act(x[:, :, None, None])[:, :, 0, 0])


OWN = [name for name in NAMES if isinstance(activation(name), Elementwise)]


@pytest.mark.parametrize("name", OWN)
def test_ours_keep_the_input_alone(name: str) -> None:
    act = activation(name)
    x = torch.randn(2, CHANNELS, 16, 16, requires_grad=True)
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        act(x)
    maps = [tensor for tensor in kept if tensor.numel() > CHANNELS]
    assert [tensor.data_ptr() for tensor in maps] == [x.data_ptr()]


@pytest.mark.parametrize("name", OWN)
def test_ours_in_pieces_and_compiled_compute_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    act = activation(name)
    x = torch.randn(7, CHANNELS, 5, 5, requires_grad=True)
    grad = torch.randn(7, CHANNELS, 5, 5)

    def results() -> tuple[Tensor, ...]:
        out = act(x)
        return out, *torch.autograd.grad(out, (x, *act.parameters()), grad)

    want = results()
    monkeypatch.setattr("senet_lab.networks.pieces.PIECE", 2 * CHANNELS * 25)
    in_pieces = results()
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    compiled = results()
    # Sums of 1,400 terms of some size.
    torch.testing.assert_close(in_pieces, want, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(compiled, want, rtol=1e-5, atol=1e-4)
    assert "Function" not in type(compiled[0].grad_fn).__name__


@pytest.mark.parametrize("name", ["acon_c", "meta_acon", "pau"])
def test_ours_compile_into_one_graph(name: str) -> None:
    act = activation(name)
    x = torch.randn(2, CHANNELS, 3, 3, requires_grad=True)
    results = []
    for apply in (act, torch.compile(act, backend="aot_eager", fullgraph=True)):
        y = apply(x)
        results.append((y, *torch.autograd.grad(y.square().sum(), (x, *act.parameters()))))
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [*OWN, "meta_acon"])
def test_ours_refuse_integers(name: str) -> None:
    with pytest.raises(TypeError, match="takes floating-point values, not"):
        activation(name)(torch.ones(2, CHANNELS, dtype=torch.int64))


INITIAL = {
    "pau": {
        "a0": 0.0335583603, "a1": 0.505000375, "a2": 1.65343934, "a3": 2.01001052, "a4": 0.931901999,
        "a5": 0.152424124, "b1": 3.30847488e-06, "b2": 3.98021568, "b3": 5.12471206e-07, "b4": 0.301830109,
    },
    "prelu": {"a": 0.25},
    "snake": {"a": 1.0},
    "srelu": {"t_left": 0.0, "a_left": 0.2, "t_right": 1.0, "a_right": 1.0},
    "star_relu": {"s": 0.8944, "b": -0.4472},
    "swish_beta": {"beta": 1.0},
}  # fmt: skip


@pytest.mark.parametrize("name", INITIAL)
def test_initial_values_are_those_published(name: str) -> None:
    for key, value in coefficients(activation(name)).items():
        assert value.flatten().tolist() == pytest.approx([INITIAL[name][key]] * value.numel()), key


def test_initial_values_that_are_drawn() -> None:
    wide = {name: coefficients(activation(name, 4096)) for name in ("acon_c", "meta_acon", "apl")}
    for name in ("acon_c", "meta_acon"):
        for key in ("p1", "p2"):
            # Of 4,096 standard normal draws, six standard errors off.
            assert abs(wide[name][key].mean().item()) < 6 / 64
            assert abs(wide[name][key].std().item() - 1) < 6 / 90
    assert (wide["acon_c"]["beta"] == 1).all()
    for s in range(1, 6):
        assert 0.19 < wide["apl"][f"a{s}"].abs().max().item() <= 0.2
        assert wide["apl"][f"b{s}"].std().item() == pytest.approx(0.5, rel=0.07)


def test_snake_refuses_to_divide_by_zero() -> None:
    with pytest.raises(UsageError, match="a=0: Snake divides"):
        activation("snake", a=0)


def test_xielu_starts_with_both_slopes_at_the_published_value() -> None:
    positive, negative = activation("xielu").effective()
    assert (positive.item(), negative.item()) == pytest.approx((0.8, 0.8))


def test_star_relu_starts_with_mean_zero_and_variance_one() -> None:
    out = activation("star_relu")(torch.randn(1 << 20, generator=torch.Generator().manual_seed(0)))
    assert out.mean().item() == pytest.approx(0, abs=0.01)
    assert out.var().item() == pytest.approx(1, rel=0.02)


def test_pau_starts_as_leaky_relu() -> None:
    x = torch.linspace(-3, 3, 601)
    assert (activation("pau")(x) - nn.functional.leaky_relu(x)).abs().max() < 0.04


def test_sites_draw_values_of_their_own_and_a_seed_repeats_them() -> None:
    first, second = (build_act_layer(load("acon_c"), seed=0) for _ in range(2))
    draws = [coefficients(make(CHANNELS))["p1"] for make in (first, first, second, second)]
    assert torch.equal(draws[0], draws[2])
    assert torch.equal(draws[1], draws[3])
    assert not torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], coefficients(activation("acon_c", seed=1))["p1"])


def test_values_drawn_at_sites_leave_the_weights_as_with_relu(build: Callable) -> None:
    plain = build("model=cnn3", "activation=relu").state_dict()
    drawn = build("model=cnn3", "activation=meta_acon").state_dict()
    assert plain.keys() < drawn.keys()
    assert all(torch.equal(plain[name], drawn[name]) for name in plain)


def test_meta_acon_takes_beta_from_the_mean_of_each_map() -> None:
    act = activation("meta_acon", 64).double()
    assert isinstance(act, MetaAconC)
    assert act.fc1.out_features == 16
    x = torch.randn(3, 64, 4, 5, dtype=torch.float64)
    w1, w2 = act.fc1.weight.detach().numpy(), act.fc2.weight.detach().numpy()
    beta = sigma(x.numpy().mean((2, 3)) @ w1.T @ w2.T)[:, :, None, None]
    p1, p2 = (p.detach().numpy()[:, None, None] for p in (act.p1, act.p2))
    np.testing.assert_allclose(act(x).detach().numpy(), acon_c(x.numpy(), p1, p2, beta), rtol=1e-12)


def test_rrelu_draws_from_the_global_generator() -> None:
    act = activation("rrelu")
    x = -torch.rand(4, CHANNELS, 8, 8).contiguous(memory_format=torch.channels_last) - 0.1
    torch.manual_seed(3)
    one, two = act(x), act(x)
    torch.manual_seed(3)
    assert torch.equal(act(x), one)
    assert not torch.equal(one, two)
    slopes = one / x
    assert 1 / 8 <= slopes.min() < 0.14
    assert 0.32 < slopes.max() <= 1 / 3 + 1e-6
    torch.testing.assert_close(act.eval()(x), x * 11 / 48)


LEARNED = [name for name in NAMES if coefficients(activation(name))]


@pytest.mark.parametrize("name", LEARNED)
def test_every_coefficient_learns_at_every_site(name: str, build: Callable) -> None:
    torch.manual_seed(0)
    network = build("model=cnn3", f"activation={name}")
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    before = list(coefficient_rows(network))
    images, labels = torch.randn(16, 3, 8, 8), torch.arange(16) % 10
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()
    after = list(coefficient_rows(network))
    assert [row[:2] for row in after] == [row[:2] for row in before]
    # A channel may be all on one side of a hinge; the coefficient of a site is not.
    moved = {(row[0].partition("[")[0], row[1]) for row, old in zip(after, before, strict=True) if row != old}
    sites = dict(activation_sites(network))
    assert moved == {(site, key) for site, act in sites.items() for key in coefficients(act)}
    assert all(math.isfinite(value) for *_, value in after)


@pytest.mark.parametrize("name", ["prelu", "acon_c", "apl", "srelu"])
def test_published_networks_share_coefficients_that_are_not_per_channel(name: str) -> None:
    network = published.SENet(10, build_act_layer(load(name) | {"per_channel": False}, seed=0), [1], [16])
    assert len(dict(activation_sites(network))) == 2
    assert network(torch.randn(2, 3, 8, 8)).shape == (2, 10)
    with pytest.raises(UsageError, match="per_channel"):
        published.SENet(10, build_act_layer(load(name), seed=0), [1], [16])


@pytest.mark.parametrize("name", NAMES)
def test_yaml_opens_with_formula_and_source_and_names_itself(name: str) -> None:
    lines = (CONF / "activation" / f"{name}.yaml").read_text("utf-8").splitlines()
    assert re.fullmatch(r"# .+\(x\) [=≈] .+\.", lines[0])
    assert re.fullmatch(r"# .*(arXiv|\b(19|20)\d\d\b|public repository|no paper).*\.", lines[1])
    assert load(name)["name"] == name
    assert load(name)["label"]


def test_there_are_thirty_and_no_two_share_a_label() -> None:
    assert len(NAMES) >= 30
    assert len({load(name)["label"] for name in NAMES}) == len(NAMES)


def test_the_five_published_ones_have_place_and_colour_of_their_own() -> None:
    styles = {load(name)["label"]: load(name)["style"] for name in NAMES if load(name)["style"]}
    assert sorted(styles, key=lambda label: styles[label]["order"]) == [
        "ReLU",
        "Swish",
        "Mish",
        "TAct",
        "mTAct",
    ]
    assert [styles[label]["order"] for label in ("ReLU", "mTAct")] == [0, 4]
    assert len({style["color"] for style in styles.values()}) == 5
    assert all(re.fullmatch("#[0-9A-F]{6}", style["color"]) for style in styles.values())
