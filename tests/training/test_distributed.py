"""Several processes against one, with the same global batch."""

import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from sweeps import SERVER
from torch import nn
from torch.distributed.launcher import LaunchConfig, elastic_launch

from senet_lab.cli import main
from senet_lab.errors import UsageError
from senet_lab.records.sweep import SweepDirectory
from senet_lab.training import distributed
from senet_lab.training.distributed import Group, SyncBatchNorm2d, share_statistics

# Batch norm, augmentation, two parts a step, and a last batch of 29 that two processes share unevenly.
RUN = [
    "model=cnn3", "se=standard", "activation=tact", "epochs=2", "batch_size=88", "accumulate=2", "lr=0.01",
    "optimizer=sgd", "label_smoothing=0.1", "clip_grad=0.5", "ema=0.9",
    "trainer.precision=float32", "trainer.device=cpu", "name=x",
]  # fmt: skip


def metrics(outputs: Path) -> pd.DataFrame:
    (run,) = SweepDirectory(outputs / "x").find_runs().values()
    assert run.status().state == "finished"
    return run.metrics().drop(columns="seconds")


@pytest.fixture
def signals_stay() -> Iterator[None]:
    """Put back the handlers of signals that torchrun's agent replaces."""
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    yield
    for number, handler in handlers.items():
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)


@pytest.mark.usefixtures("signals_stay")
def test_two_processes_train_as_one_does(tmp_path: Path) -> None:
    # torchrun's agent; its processes are forked from one that has imported torch.
    agent = {
        "rdzv_backend": "c10d",
        "rdzv_endpoint": "localhost:0",
        "start_method": SERVER.get_start_method(),
    }
    torchrun = LaunchConfig(min_nodes=1, max_nodes=1, nproc_per_node=2, **agent)
    arguments = ["train", *RUN, f"outputs={tmp_path}/two", "hydra/launcher=torchrun"]
    assert elastic_launch(torchrun, main)(arguments) == {0: 0, 1: 0}
    assert main(["train", *RUN, f"outputs={tmp_path}/one", "hydra/launcher=serial"]) == 0
    ours, theirs = metrics(tmp_path / "two"), metrics(tmp_path / "one")
    losses, accuracies = (
        ["train_loss", "test_loss", "test_ema_loss"],
        ["train_top1", "test_top1", "test_ema_top1"],
    )
    pd.testing.assert_frame_equal(ours[losses], theirs[losses], rtol=1e-5, atol=0)
    # Rounding may turn one image of 360.
    pd.testing.assert_frame_equal(ours[accuracies], theirs[accuracies], rtol=0, atol=1.5 / 360)
    assert theirs["train_loss"][1] < theirs["train_loss"][0]


def test_second_derivatives_of_the_shared_batch_norm(tmp_path: Path) -> None:
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        x = torch.randn(4, 2, 1, 1, requires_grad=True)
        results = []
        for norm in (SyncBatchNorm2d(2), nn.BatchNorm2d(2)):
            (slope,) = torch.autograd.grad(norm(x).pow(3).sum(), x, create_graph=True)
            results.append(torch.autograd.grad(slope.square().sum(), x)[0])
    finally:
        torch.distributed.destroy_process_group()
    torch.testing.assert_close(*results, rtol=1e-3, atol=1e-3)
    assert results[0].abs().max() > 0.1


@pytest.mark.parametrize(("images", "batch_size", "accumulate"), [(100, 9, 1), (97, 32, 1), (96, 12, 4)])
def test_batches_that_cannot_be_shared_are_refused(images: int, batch_size: int, accumulate: int) -> None:
    with pytest.raises(UsageError, match="batch_size"):
        Group(0, 2).check(images, batch_size, accumulate)
    Group(0, 2).check(96, 32, 2)


def test_the_launcher_says_how_to_start_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", f"outputs={tmp_path}", "hydra/launcher=torchrun"]) == 2
    assert "torchrun --nproc-per-node" in capsys.readouterr().err


def test_on_gpus_statistics_are_shared_by_torchs_own_batch_norm() -> None:
    on_gpu = torch.nn.BatchNorm2d(3)
    del on_gpu.running_mean
    on_gpu.running_mean = SimpleNamespace(is_cuda=True)  # type: ignore[assignment]
    share_statistics(on_gpu)
    assert type(on_gpu) is torch.nn.SyncBatchNorm
    assert on_gpu.process_group is None
    here = torch.nn.BatchNorm2d(3)
    share_statistics(here)
    assert type(here) is SyncBatchNorm2d


def test_processes_exchange_no_buffers_and_control_through_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Buffers are equal in all of them, and what steers a run must not wait for a GPU."""
    wrapped: dict[str, bool] = {}
    sent: list[torch.device] = []
    monkeypatch.setattr(distributed, "DistributedDataParallel", lambda _, **how: wrapped.update(how))
    monkeypatch.setattr(distributed.dist, "broadcast_object_list", lambda _, device: sent.append(device))
    monkeypatch.setattr(distributed.dist, "all_reduce", lambda flag: sent.append(flag.device))
    two = Group(rank=1, size=2)
    two.wrap(nn.Linear(1, 1))
    assert wrapped == {"broadcast_buffers": False}
    assert two.first("value") == "value"
    assert two.any(True)
    assert sent == [torch.device("cpu")] * 2
