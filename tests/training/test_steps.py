"""Captured and compiled steps against plain ones, where that can be seen without a GPU."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support import compiled_steps, tiny
from torch import Tensor, nn
from torch._inductor import cpp_builder
from torch._inductor.exc import InvalidCxxCompiler

from senet_lab.cli import main
from senet_lab.composition.command import compose_command
from senet_lab.records.rows import Metrics
from senet_lab.training.cpu import use_fast_activations
from senet_lab.training.engine import Engine
from senet_lab.training.loop import Training
from senet_lab.training.steps import CapturedStep, TrainStep, compiled_forward, plain_forward
from senet_lab.training.turns import finish

PLAIN = Engine(torch.device("cpu"), "float32", deterministic=False)


def never() -> bool:
    return False


def tiny_config(folder: Path, *overrides: str) -> dict[str, Any]:
    return compose_command("train", [*tiny(folder), *overrides]).points[0].config


class Recorder:
    """Takes work as a CUDA graph does: does nothing now, and the same on the same tensors at each replay."""

    def __init__(self) -> None:
        self.works: list[Callable[[], None]] = []

    def __call__(self, work: Callable[[], None]) -> Callable[[], None]:
        self.works.append(work)
        return work


def capture(training: Training) -> Recorder:
    """Have `training` replay its steps, with learning rates that lie in tensors."""
    recorder = Recorder()
    training.train_step.rates = [torch.zeros(()) for _ in training.optimizer.param_groups]
    training.step = CapturedStep(training.train_step, recorder)
    return recorder


def epochs(training: Training, count: int) -> list[dict[str, Any]]:
    rows = [finish(training.epoch(never)) for _ in range(count)]
    return [{**vars(row), "seconds": 0} for row in rows if isinstance(row, Metrics)]


def weights(training: Training) -> Tensor:
    return torch.cat([value.flatten().double() for value in training.network.state_dict().values()])


def scheduled(folder: Path) -> dict[str, Any]:
    """Batches of 40, 40 and 16 images in two parts, and rates that float32 holds exactly: powers of two."""
    words = ["schedule=exponential", "schedule.gamma=0.5", "lr=0.125", "optimizer=sgd"]
    return tiny_config(folder, "activation=tact", *words, "batch_size=40", "accumulate=2")


def test_replayed_steps_equal_plain_ones(tmp_path: Path) -> None:
    config = scheduled(tmp_path)
    plain, captured = Training(config, PLAIN), Training(config, PLAIN)
    recorder = capture(captured)
    assert epochs(captured, 6) == epochs(plain, 6)
    assert torch.equal(weights(captured), weights(plain))
    assert len(recorder.works) == 2  # the full batch and the last one


def test_replayed_steps_follow_a_schedule_by_step(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, "schedule=linear", "lr=0.1", "optimizer=sgd", "epochs=3", "batch_size=16")
    plain, captured, constant = (Training(config, PLAIN) for _ in range(3))
    capture(captured)
    constant.schedule_by_step = False
    ours, theirs, others = (epochs(training, 3)[-1] for training in (captured, plain, constant))
    # A rate in float32 against one in float64, over 18 steps.
    assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-4)
    assert others["train_loss"] != pytest.approx(theirs["train_loss"], rel=1e-2)


def test_captured_steps_go_on_from_plain_ones_and_back(tmp_path: Path) -> None:
    config = scheduled(tmp_path)
    whole = Training(config, PLAIN)
    expected = epochs(whole, 6)
    rows = []
    state: dict[str, Any] | None = None
    for is_captured in (True, False, True):
        part = Training(config, PLAIN)
        if is_captured:
            capture(part)
            epochs(part, 4)  # what is captured then must not outlive the loading of a state
        if state is not None:
            part.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
        else:
            part = Training(config, PLAIN)
        if is_captured:
            capture(part)
        rows += epochs(part, 2)
        state = part.state_dict()
        assert isinstance(state["optimizer"]["param_groups"][0]["lr"], float)
        torch.save(state, tmp_path / "state.pt")
    assert rows == expected
    assert torch.equal(weights(part), weights(whole))


def test_a_state_is_loaded_whatever_device_its_optimizer_stepped_on(tmp_path: Path) -> None:
    """Adadelta on CUDA is capturable, which its CPU step refuses to be."""
    config = tiny_config(tmp_path, "optimizer=adadelta")
    whole, part = Training(config, PLAIN), Training(config, PLAIN)
    first = epochs(whole, 1)
    torch.save(whole.state_dict(), tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    for group in state["optimizer"]["param_groups"]:
        group["capturable"] = True
    part.load_state_dict(state)
    assert epochs(part, 1) == epochs(whole, 1) != first


def test_one_copy_of_the_data_feeds_all_runs(tmp_path: Path) -> None:
    one, other = (Training(tiny_config(tmp_path, f"seed={seed}"), PLAIN).batches for seed in (0, 1))
    assert one.x_train is other.x_train  # type: ignore[attr-defined]


def has_compiler() -> bool:
    try:
        cpp_builder.get_cpp_compiler()
    except InvalidCxxCompiler:
        return False
    return True


@pytest.mark.skipif(not has_compiler(), reason="torch.compile needs a C++ compiler")
def test_a_compiled_step_is_as_exact_as_a_plain_one() -> None:
    """Both differ from float64 by rounding alone, and the next network runs the code that is there."""

    def distances(steps: int, seed: int) -> tuple[float, float]:
        results = []
        for dtype, compiled in ((torch.float64, False), (torch.float32, False), (torch.float32, True)):
            torch.manual_seed(seed)
            layers = [nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()]
            network = nn.Sequential(*layers, nn.Linear(4 * 4 * 4, 5)).to(dtype)
            engine = Engine(torch.device("cpu"), "float32", deterministic=False, compiled=compiled)
            step = TrainStep(network, torch.optim.SGD(network.parameters(), lr=0.1), engine, 8, 1)
            for _ in range(steps):
                step(torch.randn(8, 3, 4, 4).to(dtype), torch.randint(5, (8,)), 8)
            results.append(torch.cat([weight.detach().double().flatten() for weight in network.parameters()]))
        exact, plain, fast = results
        return (plain - exact).norm().item(), (fast - exact).norm().item()

    torch._dynamo.reset()  # what other tests compiled in this process
    stats = torch._dynamo.utils.counters["stats"]
    stats.clear()
    # Two roundings of the same numbers differ from float64 alike, up to a factor that chance gives.
    for steps, seed, factor in ((1, 0, 2), (10, 1, 4)):
        plain, compiled = distances(steps, seed)
        assert 0 < compiled <= factor * plain
    assert stats["unique_graphs"] == 1
    assert compiled_forward() is compiled_forward()
    # Settings of a whole process, which hold during a step alone.
    assert torch._dynamo.config.recompile_limit < 2**16
    assert not torch._dynamo.config.fail_on_recompile_limit_hit


@pytest.mark.skipif(not has_compiler(), reason="torch.compile needs a C++ compiler")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_compiled_mish_is_mish_and_has_its_gradient(dtype: torch.dtype) -> None:
    """By a formula of its own, with half-precision values computed in float32 and rounded once."""
    x = torch.linspace(-100, 100, 4001).to(dtype).requires_grad_()
    layer = nn.Sequential(nn.Mish())
    use_fast_activations(layer)
    torch.compile(layer, fullgraph=True)(x).sum().backward()
    exact = x.detach().double().requires_grad_()
    nn.functional.mish(exact).sum().backward()
    torch.testing.assert_close(x.grad, exact.grad.to(dtype))
    with torch.no_grad():
        torch.testing.assert_close(
            torch.compile(layer, fullgraph=True)(x), nn.functional.mish(exact).to(dtype)
        )


def test_a_compiled_mish_is_no_function_of_its_own() -> None:
    """Up to torch 2.11, in-place writes in an autograd.Function make all gradients before it zero."""
    layer = nn.Sequential(nn.Mish())
    use_fast_activations(layer)
    steps = compiled_steps(layer, torch.randn(2, 4, requires_grad=True))
    assert "sigmoid" in steps
    assert not any("function_apply" in step for step in steps)


def test_compiling_without_a_compiler_is_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def missing() -> None:
        raise InvalidCxxCompiler

    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", missing)
    assert main(["train", *tiny(tmp_path), "trainer.device=cpu", "trainer.compile=true"]) == 2
    error = capfd.readouterr().err
    assert "trainer.compile=true: needs a C++ compiler" in error
    assert error.count("\n") == 1
    assert not list(tmp_path.rglob("plan.json"))


def test_the_smaller_last_batch_is_neither_compiled_nor_searched_for(tmp_path: Path) -> None:
    training = Training(tiny_config(tmp_path, "batch_size=40"), PLAIN)
    compiled: list[int] = []
    searched: dict[int, bool] = {}

    def forward(network: nn.Module, images: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
        compiled.append(len(images))
        return plain_forward(network, images, *rest)

    def look(module: nn.Module, inputs: tuple[Tensor]) -> None:
        searched[len(inputs[0])] = torch.backends.cudnn.benchmark

    training.train_step.forward = forward
    training.network.register_forward_pre_hook(look)
    with PLAIN.settings(threads=1):
        finish(training.train(never))
        assert torch.backends.cudnn.benchmark
    assert compiled == [40, 40]
    assert searched == {40: True, 16: False}
