"""Fast batch norms and casts of a GPU against plain ones, which can be seen on a CPU."""

from pathlib import Path

import pytest
import torch
from support import tiny
from torch import nn

from senet_lab.build import build_network
from senet_lab.composition.command import compose_command
from senet_lab.training import engine
from senet_lab.training.cuda import count_batches, use_fast_norms
from senet_lab.training.cuda.norms import UnbiasedConv2d
from senet_lab.training.engine import Engine
from senet_lab.training.loop import Training
from senet_lab.training.steps import Forward, TrainStep, cast_forward, plain_forward
from senet_lab.training.turns import finish


def small_network() -> nn.Module:
    """A small published MobileNetV2 in float64: its convolutions have biases."""
    words = ["model=published/mobilenetv2", "model.stages=[[1,16,1,1],[6,24,1,2]]", "activation=relu"]
    return build_network(compose_command("train", words).points[0].config, 10).double()


def test_biases_before_a_batch_norm_cost_nothing_and_change_nothing() -> None:
    plain, fast = small_network(), small_network()
    use_fast_norms(fast)
    names = [name for name, module in fast.named_modules() if type(module) is UnbiasedConv2d]
    assert names
    torch.manual_seed(0)
    with torch.no_grad():
        for one, other in zip(plain.parameters(), fast.parameters(), strict=True):
            one.add_(torch.randn_like(one) * 0.1)
            other.copy_(one)
    for _ in range(2):
        images = torch.randn(6, 3, 8, 8, dtype=torch.float64)
        for network in (plain, fast):
            network.zero_grad()
            network.train()(images).square().sum().backward()
    count_batches(fast, 2)
    torch.testing.assert_close(fast.state_dict(), plain.state_dict(), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(fast.eval()(images), plain.eval()(images), rtol=1e-9, atol=1e-12)
    theirs = dict(plain.named_parameters())
    scale = max(parameter.grad.abs().max() for parameter in theirs.values() if parameter.grad is not None)
    for name, parameter in fast.named_parameters():
        torch.testing.assert_close(parameter.grad, theirs[name].grad, rtol=1e-9, atol=float(1e-12 * scale))
    for name in names:
        bias = fast.get_submodule(name).bias
        assert isinstance(bias, nn.Parameter)
        assert bias.grad is not None
        assert not bias.grad.any()


def test_weights_cast_together_are_those_that_autocast_casts(tmp_path: Path) -> None:
    words = [*tiny(tmp_path), "activation=tact", "batch_size=40", "accumulate=2"]
    config = compose_command("train", words).points[0].config
    bfloat16 = Engine(torch.device("cpu"), "bfloat16", deterministic=False)
    results = []
    for forward in (plain_forward, cast_forward):
        network = build_network(config, 10)
        use_fast_norms(network)
        cast: set[torch.dtype] = set()
        convolution = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
        convolution.register_forward_hook(lambda module, *_, cast=cast: cast.add(module.weight.dtype))
        training = Training(config, bfloat16)
        step = TrainStep(network, torch.optim.Adam(network.parameters()), bfloat16, 40, 2)
        step.plain = step.forward = forward
        for images, labels in training.batches.train(torch.Generator().manual_seed(1)):
            step(images, labels, len(labels))
        results.append((step.sums, *network.state_dict().values()))
        assert cast == {torch.bfloat16 if forward is cast_forward else torch.float32}
        assert all(parameter.dtype == torch.float32 for parameter in network.parameters())
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


def test_batches_are_counted_once_an_epoch(tmp_path: Path) -> None:
    words = [*tiny(tmp_path), "batch_size=40", "accumulate=2"]
    config = compose_command("train", words).points[0].config
    float32 = Engine(torch.device("cpu"), "float32", deterministic=False)
    plain, fast = Training(config, float32), Training(config, float32)
    use_fast_norms(fast.network)
    for training in (plain, fast):
        finish(training.epoch(lambda: False))
    ours, theirs = (
        {key: int(value) for key, value in training.network.state_dict().items() if "tracked" in key}
        for training in (fast, plain)
    )
    assert ours == theirs
    assert set(theirs.values()) == {5}  # two parts of each full batch, one of the last


@pytest.mark.parametrize(
    ("compiled", "processes", "used"),
    [(False, 1, ["use_fast_layers", "use_fast_norms"]), (False, 2, ["use_fast_layers"]), (True, 1, [])],
)
def test_a_gpu_gets_fast_layers_and_alone_fast_norms(
    monkeypatch: pytest.MonkeyPatch, compiled: bool, processes: int, used: list[str]
) -> None:
    """Compiled networks keep the plain ones; several processes synchronise their norms."""
    calls: list[str] = []
    for name in ("use_fast_layers", "use_fast_norms"):
        monkeypatch.setattr(engine.cuda, name, lambda _, name=name: calls.append(name))
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    # What is not the CPU is taken for a GPU.
    Engine(torch.device("meta"), "float32", False, compiled=compiled).place(network, processes)
    assert calls == used


@pytest.mark.parametrize(
    ("precision", "processes", "forward"),
    [("bfloat16", 1, cast_forward), ("bfloat16", 2, plain_forward), ("float32", 1, plain_forward)],
)
def test_a_gpu_casts_weights_together_in_a_run_of_its_own(
    monkeypatch: pytest.MonkeyPatch, precision: str, processes: int, forward: Forward
) -> None:
    zeros = torch.zeros
    monkeypatch.setattr(torch, "zeros", lambda *size, **_: zeros(*size))  # no GPU is there
    network = nn.Linear(2, 2)
    gpu = Engine(torch.device("cuda"), precision, deterministic=False)
    step = TrainStep(network, torch.optim.SGD(network.parameters()), gpu, 8, 1, processes)
    assert step.plain is step.forward is forward
