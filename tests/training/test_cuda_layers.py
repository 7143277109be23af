"""Fast batch norms and casts of a GPU against plain ones, which can be seen on a CPU."""

from pathlib import Path

import torch
from support import tiny
from torch import nn

from senet_lab.build import build_network
from senet_lab.composition.command import compose_command
from senet_lab.training.cuda import count_batches, use_fast_norms
from senet_lab.training.cuda.norms import UnbiasedConv2d
from senet_lab.training.engine import Engine
from senet_lab.training.loop import Training
from senet_lab.training.steps import TrainStep, cast_forward, plain_forward
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
    engine = Engine(torch.device("cpu"), "bfloat16", deterministic=False)
    results = []
    for forward in (plain_forward, cast_forward):
        network = build_network(config, 10)
        use_fast_norms(network)
        cast: set[torch.dtype] = set()
        convolution = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
        convolution.register_forward_hook(lambda module, *_, cast=cast: cast.add(module.weight.dtype))
        training = Training(config, engine)
        step = TrainStep(network, torch.optim.Adam(network.parameters()), engine, 40, 2)
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
    engine = Engine(torch.device("cpu"), "float32", deterministic=False)
    plain, fast = Training(config, engine), Training(config, engine)
    use_fast_norms(fast.network)
    for training in (plain, fast):
        finish(training.epoch(lambda: False))
    ours, theirs = (
        {key: int(value) for key, value in training.network.state_dict().items() if "tracked" in key}
        for training in (fast, plain)
    )
    assert ours == theirs
    assert set(theirs.values()) == {5}  # two parts of each full batch, one of the last
