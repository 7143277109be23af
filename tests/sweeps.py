"""Helpers for tests of sweeps: fast starts of `senet-lab`, and comparison of records."""

import gc
import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
import torch
from support import rows_without_seconds, tiny

from senet_lab.cli import main
from senet_lab.records.plan import PlannedRun
from senet_lab.training.loop import StepHook, Training, step_hooks

Stop = Callable[[], bool]

SERVER = multiprocessing.get_context("forkserver")
# A process forked from one that has imported torch, but not used it, starts at once.
SERVER.set_forkserver_preload(
    [
        "senet_lab.runs.execute",
        "senet_lab.commands.finals",
        "senet_lab.commands.train",
        "senet_lab.data.augment",
        "senet_lab.networks.resnet",
        "senet_lab.cli",
        "torch._dynamo",  # which torch imports for the first optimizer
        "torchvision.transforms",  # for scripts/benchmark.py
        "pytest",
    ]
)


def sweep(folder: Path, *overrides: str) -> list[str]:
    """A tiny sweep of two learnable runs that writes a checkpoint at every epoch and keeps the last."""
    settings = ["activation=tact", "checkpoint.min_seconds=0", "checkpoint.keep=true"]
    return ["train", "-m", *tiny(folder), *settings, "seed=0,1", "hydra/launcher=serial", *overrides]


def start(
    arguments: Sequence[str], log: Path, before: Callable[[], object] | None = None
) -> ForkServerProcess:
    """`senet-lab` in its own process, with its output in `log`.

    `before` is called there first.
    """
    process = SERVER.Process(target=_main, args=(list(arguments), log, before))
    process.start()
    return process


def _main(arguments: list[str], log: Path, before: Callable[[], object] | None) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    gc.freeze()  # a collection would go over all that the server has imported, for half a second
    os.environ["LOKY_MAX_CPU_COUNT"] = "1"
    # A shell makes background processes ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if before is not None:
        before()
    sys.exit(main(arguments))


def at_step(epoch: int, step: int, act: Callable[[Stop], object]) -> None:
    """Have every run of this process call `act` before one step.

    Args:
        epoch: index of the epoch.
        step: index within the epoch; the tiny sweep has 3 training steps and 1 test step.
        act: called with the stop function.
    """

    def hook(training: Training, number: int, stop: Stop) -> None:
        if (training.epochs_done, number) == (epoch, step):
            act(stop)

    step_hooks.append(hook)


def stop_after(steps: int) -> StepHook:
    """A hook that stops all runs of this process after a total number of steps."""
    left = iter(range(steps))

    def hook(training: Training, step: int, stop: Stop) -> bool:
        return next(left, None) is None

    return hook


def in_workers(hook: Callable[[], object]) -> None:
    """Have this process's workers, of any engine, call `hook`: pickled runs carry it there."""
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)

    def reduce(run: PlannedRun) -> tuple[Callable[..., PlannedRun], tuple[Any, ...]]:
        return _arrive, (hook, _planned(run))

    PlannedRun.__reduce__ = reduce  # type: ignore[assignment, method-assign]


def _planned(run: PlannedRun) -> dict[str, Any]:
    return {field.name: getattr(run, field.name) for field in fields(PlannedRun)}


def _arrive(hook: Callable[[], object], planned: dict[str, Any]) -> PlannedRun:
    hook()
    return PlannedRun(**planned)


def hold(gate: Path, stop: Stop) -> None:
    """Block while the file `gate` exists, unless asked to stop."""
    wait_until(lambda: stop() or not gate.exists())


def held_in(folder: Path, epoch: int, *runs: str) -> Callable[[], bool]:
    """A condition: each of `runs` has reached the epoch at which `hold` blocks it."""
    return lambda: all(statuses(folder).get(run, {}).get("epochs_done") == epoch for run in runs)


def wait_until(holds: Callable[[], bool], seconds: float = 300) -> None:
    """Poll until a condition holds. The limit is only against hanging.

    It is long because torch and Ray can take a minute to start where many processes share two cores.
    """
    end = monotonic() + seconds
    while not holds():
        assert monotonic() < end, f"waited for {seconds} s"
        sleep(0.02)


def statuses(folder: Path) -> dict[str, dict[str, Any]]:
    """Each run's `status.json`, by its seed."""
    return {file.parent.name: json.loads(file.read_text()) for file in folder.rglob("status.json")}


def records(folder: Path) -> dict[str, Any]:
    """Records that must not depend on interruptions: rows without seconds, coefficients, final weights."""
    found = {}
    for metrics in folder.rglob("metrics.csv"):
        run = metrics.parent
        content: list[Any] = [rows_without_seconds(metrics)]
        if (run / "activations.csv").exists():
            content.append((run / "activations.csv").read_text())
        if (run / "checkpoint.pt").exists():
            weights = torch.load(run / "checkpoint.pt", map_location="cpu", weights_only=True)["network"]
            content.append({key: value.numpy().tobytes() for key, value in weights.items()})
        found[run.name] = content
    return found


def leftovers(folder: Path) -> list[Path]:
    """Temporary files that were not removed."""
    return [*folder.rglob(".*.tmp")]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give single runs as many threads as runs of a sweep, so that their results are equal."""
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")


@pytest.fixture(autouse=True)
def no_process_stays() -> Iterator[None]:
    """Kill the sweep processes of a failed test, which would block the session."""
    yield
    for process in multiprocessing.active_children():
        process.kill()
        process.join()


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The records of an uninterrupted tiny sweep of four epochs."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOKY_MAX_CPU_COUNT", "1")
        assert main(sweep(folder, "epochs=4")) == 0
    return records(folder)


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """Output folder of the tiny sweep."""
    return tmp_path / "outputs" / "default"
