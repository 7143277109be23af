"""What only a GPU can show: captured, compiled and packed steps against plain ones."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from support import distances_of_tact, tiny
from sweeps import records, sweep
from torch import Tensor, nn

from senet_lab.cli import main
from senet_lab.composition.command import compose_command
from senet_lab.config import Precision, TrainerConfig
from senet_lab.networks.activations import MTAct, TAct
from senet_lab.records.rows import Metrics
from senet_lab.seeding import seed_global
from senet_lab.training import cuda, loop
from senet_lab.training.engine import choose_engine
from senet_lab.training.loop import Training
from senet_lab.training.steps import CapturedStep
from senet_lab.training.streams import Lent
from senet_lab.training.turns import finish

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

# The full batch is captured at its fourth step, in the second epoch; the last, smaller one in the fourth.
LONG = 5
DROPOUT = [
    "activation._target_=torch.nn.Dropout", "~activation.alpha", "~activation.beta",
    "~activation.learnable", "~activation.per_channel", "+activation.p=0.3",
]  # fmt: skip


def never() -> bool:
    return False


def config_of(folder: Path, *overrides: str) -> dict[str, Any]:
    words = [*tiny(folder), "activation=tact", "batch_size=40", "accumulate=2", "schedule=exponential"]
    return compose_command("train", [*words, *overrides]).points[0].config


@pytest.fixture
def deterministic() -> Iterator[None]:
    """Bitwise repeatable kernels."""
    with choose_engine(TrainerConfig("cuda", Precision.float32, deterministic=True)).settings(threads=1):
        yield


def make(config: dict[str, Any], precision: str = "float32", **how: Any) -> Training:
    seed_global(config.seed)
    return Training(
        config, choose_engine(TrainerConfig("cuda", Precision(precision), deterministic=True, **how))
    )


def epochs(training: Training, count: int) -> list[dict[str, Any]]:
    rows = [finish(training.epoch(never)) for _ in range(count)]
    return [{**vars(row), "seconds": 0} for row in rows if isinstance(row, Metrics)]


def weights(training: Training) -> Tensor:
    return torch.cat([value.double().flatten() for value in training.network.state_dict().values()]).cpu()


@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize("optimizer", ["adam", "sgd", "adadelta"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_captured_steps_equal_plain_ones(tmp_path: Path, precision: str, optimizer: str) -> None:
    config = config_of(tmp_path, f"optimizer={optimizer}")
    plain = make(config, precision, cuda_graph=False)
    captured = make(config, precision)
    for count in (1, LONG - 1):
        assert epochs(captured, count) == epochs(plain, count)
        assert torch.equal(weights(captured), weights(plain))
    assert isinstance(captured.step, CapturedStep)
    assert sorted(captured.step.graphs) == [16, 40]


@pytest.mark.usefixtures("deterministic")
def test_captured_dropout_draws_what_plain_dropout_draws(tmp_path: Path) -> None:
    config = config_of(tmp_path, *DROPOUT)
    expected = epochs(make(config, cuda_graph=False), LONG)
    assert epochs(make(config), LONG) == expected


@pytest.mark.usefixtures("deterministic")
def test_two_runs_of_a_seed_are_one(tmp_path: Path) -> None:
    one, other = make(config_of(tmp_path)), make(config_of(tmp_path))
    assert epochs(one, LONG) == epochs(other, LONG)
    assert torch.equal(weights(one), weights(other))


@pytest.mark.usefixtures("deterministic")
def test_going_on_from_a_state_equals_never_having_stopped(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    whole = make(config)
    epochs(whole, LONG)
    file = tmp_path / "state.pt"
    torch.save(whole.state_dict(), file)
    expected = epochs(whole, LONG)
    for cuda_graph in (True, False):
        part = make(config, cuda_graph=cuda_graph)
        epochs(part, LONG)  # captured on tensors that the state then replaces
        part.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
        assert epochs(part, LONG) == expected
        assert torch.equal(weights(part), weights(whole))


@pytest.mark.skipif(not cuda.triton_works(), reason="torch.compile needs Triton")
@pytest.mark.filterwarnings("ignore::UserWarning")  # Inductor's own
@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize("cuda_graph", [False, True])
def test_compiled_steps_are_near_plain_ones(tmp_path: Path, cuda_graph: bool) -> None:
    """Rounding differs, and SGD passes it on as it is: some 10 sums of 1,000 float32 terms a step."""
    config = config_of(tmp_path, "optimizer=sgd", "lr=0.01")
    plain = make(config, cuda_graph=False)
    compiled = make(config, compile=True, cuda_graph=cuda_graph)
    for ours, theirs in zip(epochs(compiled, LONG), epochs(plain, LONG), strict=True):
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-3)
    torch.testing.assert_close(weights(compiled), weights(plain), rtol=1e-2, atol=1e-3)


@pytest.mark.skipif(not cuda.triton_works(), reason="the kernels are Triton's")
@pytest.mark.parametrize("kind", [TAct, MTAct])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_kernels_of_tact_round_once(kind: type[TAct], dtype: torch.dtype) -> None:
    act = kind(8, 0.25, 0.5).cuda()
    network = nn.Sequential(act)
    cuda.use_fast_layers(network)
    assert type(act) is not kind
    x, grad = (3 * torch.randn(64, 8, 33, 33, device="cuda").to(dtype) for _ in range(2))
    once = {torch.float32: 0.0, torch.bfloat16: 2.0**-8}[dtype]
    for layout in (torch.contiguous_format, torch.channels_last):
        assert max(distances_of_tact(act, x.contiguous(memory_format=layout), grad, once)) < 1


def test_packed_runs_equal_the_same_runs_alone(tmp_path: Path) -> None:
    words = ["trainer.device=cuda", "trainer.deterministic=true", f"epochs={LONG}", "seed=0,1,2"]
    assert main(sweep(tmp_path / "alone", *words, "pack=1")) == 0
    assert main(sweep(tmp_path / "packed", *words, "pack=3")) == 0
    assert records(tmp_path / "alone") == records(tmp_path / "packed")


def test_packed_runs_draw_dropout_as_they_do_alone(tmp_path: Path) -> None:
    words = [*DROPOUT, "trainer.device=cuda", "trainer.deterministic=true", f"epochs={LONG}", "seed=0,1,2"]
    assert main(sweep(tmp_path / "alone", *words, "pack=1")) == 0
    assert main(sweep(tmp_path / "packed", *words, "pack=3")) == 0
    assert records(tmp_path / "alone") == records(tmp_path / "packed")


def test_a_serial_sweep_uses_one_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "streams", Lent(torch.cuda.Stream))
    assert main(sweep(tmp_path, "trainer.device=cuda", "seed=0,1,2", "pack=1")) == 0
    (idle,) = loop.streams.idle.values()
    assert len(idle) == 1


def test_out_of_memory_costs_its_run_alone(tmp_path: Path) -> None:
    """The second run's feature maps of 512×512 pixels take more than the 1 GB that this process may add."""
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 1e9) / total)
    try:
        words = ["trainer.device=cuda", "seed=0", "augment.size=8,512", f"epochs={LONG}", "pack=2"]
        assert main(sweep(tmp_path, *words)) == 1
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    found = {file.parent.parent.name: json.loads(file.read_text()) for file in tmp_path.rglob("status.json")}
    assert found["augment.size=8"]["state"] == "finished"
    assert found["augment.size=512"]["state"] == "failed"
    assert "out of memory" in found["augment.size=512"]["error"]


@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype feature")
@pytest.mark.parametrize("cuda_graph", [False, True])
def test_the_host_never_waits_within_an_epoch(tmp_path: Path, cuda_graph: bool) -> None:
    training = make(config_of(tmp_path), cuda_graph=cuda_graph)
    epochs(training, LONG)
    try:
        torch.cuda.set_sync_debug_mode("error")
        train, test = finish(training.train(never)), finish(training.test(never))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.cuda.synchronize()
    assert train is not None
    assert test is not None
    assert train[0].isfinite()
    assert test[0].isfinite()
