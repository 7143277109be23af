"""Several runs in one process: each ends as it does alone, whatever happens to the others."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from records_on_disk import run_config
from support import tiny
from sweeps import records, statuses, stop_after, sweep

from senet_lab.cli import main
from senet_lab.records.plan import PlannedRun
from senet_lab.runs import launchers, machine
from senet_lab.runs.launchers import Joblib, Launcher, Serial
from senet_lab.runs.torchrun_launcher import Torchrun
from senet_lab.seeding import OwnGenerators
from senet_lab.training import loop
from senet_lab.training.loop import Stop, Training

DROPOUT = [
    "activation._target_=torch.nn.Dropout", "~activation.alpha", "~activation.beta",
    "~activation.learnable", "~activation.per_channel", "+activation.p=0.3",
]  # fmt: skip


def test_packed_runs_equal_the_same_runs_alone(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    assert main(sweep(tmp_path, "epochs=4", "pack=2")) == 0
    assert records(tmp_path) == undisturbed


def test_runs_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = []

    def logged(training: Training, step: int, stop: Stop) -> None:
        if step == 0:
            log.append((training.epochs_done, training.config.seed))

    monkeypatch.setattr(loop, "step_hooks", [logged])
    assert main(sweep(tmp_path, "seed=0,1,2", "pack=2")) == 0
    # Two at a time; the third one starts when both have ended.
    assert log == [(0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (1, 2)]


def test_networks_that_draw_at_random_do_not_draw_from_each_other(tmp_path: Path) -> None:
    assert main(sweep(tmp_path / "alone", *DROPOUT)) == 0
    assert main(sweep(tmp_path / "packed", *DROPOUT, "pack=2")) == 0
    assert records(tmp_path / "alone") == records(tmp_path / "packed")


def test_runs_with_other_settings_share_a_process(tmp_path: Path) -> None:
    words = ["trainer.precision=float32,bfloat16", "seed=0", "activation=relu"]
    assert main(sweep(tmp_path / "alone", *words)) == 0
    assert main(sweep(tmp_path / "packed", *words, "pack=2")) == 0
    for precision in ("float32", "bfloat16"):
        alone, packed = (
            [records(path) for path in sorted((tmp_path / where).rglob(f"*precision={precision}"))]
            for where in ("alone", "packed")
        )
        assert alone == packed != [{}]


def test_a_failure_in_a_pack_costs_its_run_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: dict[str, Any]
) -> None:
    def failing(training: Training, step: int, stop: Stop) -> None:
        if training.config.seed == 0 and training.epochs_done == 2:
            raise MemoryError

    monkeypatch.setattr(loop, "step_hooks", [failing])
    assert main(sweep(tmp_path, "epochs=4", "pack=2")) == 1
    states = {seed: status["state"] for seed, status in statuses(tmp_path).items()}
    assert states == {"seed=0": "failed", "seed=1": "finished"}
    assert records(tmp_path)["seed=1"] == undisturbed["seed=1"]
    monkeypatch.undo()
    assert main(sweep(tmp_path, "epochs=4", "pack=2")) == 0
    assert records(tmp_path) == undisturbed


def test_a_pack_is_interrupted_at_any_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: dict[str, Any]
) -> None:
    seen = set()
    for limit in range(1, 40, 7):
        monkeypatch.setattr(loop, "step_hooks", [stop_after(limit)])
        code = main(sweep(tmp_path, "epochs=4", "pack=2"))
        seen |= {status["state"] for status in statuses(tmp_path).values()}
        if code == 0:
            break
    assert code == 0
    assert seen == {"interrupted", "finished"}
    assert records(tmp_path) == undisturbed


def test_worker_processes_take_packs(tmp_path: Path) -> None:
    joblib = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    assert main(sweep(tmp_path / "alone", "seed=0,1,2")) == 0
    assert main(sweep(tmp_path / "packed", "seed=0,1,2", "pack=2", *joblib)) == 0
    assert records(tmp_path / "packed") == records(tmp_path / "alone")
    pids = [statuses(tmp_path / "packed")[f"seed={seed}"]["pid"] for seed in range(3)]
    assert pids[0] == pids[1] != pids[2]


def test_a_pack_that_memory_does_not_hold_is_refused_with_the_number_that_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    sizes = iter([3 * 10**9] * 3)
    monkeypatch.setattr(machine, "run_bytes", lambda *_: next(sizes))
    monkeypatch.setattr(machine, "free_bytes", lambda _: machine.PROCESS_BYTES + 8_990_000_000)
    assert main(sweep(tmp_path, "seed=0,1,2", "pack=3")) == 2
    error = capfd.readouterr().err
    assert "pack=3: a run like runs/resnet18/tact/lr=0.001/seed=0 takes about 3.0 GB of memory" in error
    assert error.endswith("; 2 fit\n")
    assert statuses(tmp_path) == {}
    assert main(sweep(tmp_path, "seed=0,1,2", "pack=2")) == 0
    assert next(sizes) == 3 * 10**9  # seeds share an estimate


@pytest.mark.parametrize(
    ("gpus", "runs", "room", "make", "expected"),
    [
        (0, 5, 100, Joblib, 1),
        (1, 5, 100, Joblib, 4),
        (1, 3, 100, Serial, 3),
        (2, 5, 100, Joblib, 3),  # each GPU has work
        (1, 5, 25, Joblib, 2),  # two runs of 10 bytes fit
        (1, 5, 5, Joblib, 1),
        (2, 5, 25, Joblib, 2),  # on each of the GPUs
        (1, 5, 100, lambda: Joblib(n_jobs=2), 1),  # processes share the GPU already
        (1, 5, 100, Torchrun, 1),
    ],
)
def test_a_gpu_takes_as_many_runs_as_gain_and_fit(
    gpus: int,
    runs: int,
    room: int,
    make: Callable[[], Launcher],
    expected: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    for module in (launchers, machine):
        monkeypatch.setattr(module, "gpus_for", lambda _: gpus)
    monkeypatch.setattr(machine, "run_bytes", lambda *_: 10)
    monkeypatch.setattr(machine, "free_bytes", lambda _: machine.PROCESS_BYTES + room)
    planned = [PlannedRun("", f"{number}", "", [], 1, 0, run_config()) for number in range(runs)]
    packs = machine.choose_packs(make(), planned, None)
    assert [run for pack in packs for run in pack] == planned
    assert max(map(len, packs)) == expected


def test_what_the_runs_compute_with_is_said_before_they_start(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = [*tiny(tmp_path), "trainer.device=cpu", "hydra/launcher=serial"]
    assert main(["train", *words, "trainer.precision=bfloat16"]) == 0
    first, second, *_ = capfd.readouterr().out.splitlines()
    assert first.startswith("cpu ")
    assert first.endswith(", bfloat16, 1 thread per run")
    assert second.startswith("1 run, 1 at a time")


@pytest.mark.parametrize(
    ("workers", "said"),
    [(None, "2 decoding processes (one per thread)"), (1, "1 decoding process (dataset.workers)")],
)
def test_the_decoding_processes_are_said_beside_the_threads(workers: int | None, said: str) -> None:
    config = {**run_config(), "dataset": {"name": "image_folder", "workers": workers}}
    config["trainer"] = {"device": "cpu", "precision": "float32"}
    (line,) = machine.describe_execution([PlannedRun("", "", "", [], 2, 0, config)] * 2)
    assert line.endswith(f", float32, 2 threads and {said} per run")


def test_processes_that_share_a_run_take_no_packs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    assert main(sweep(tmp_path, "pack=2", "hydra/launcher=torchrun")) == 2
    assert "use pack=1" in capfd.readouterr().err


class GeneratorOnGpu:
    """A CUDA generator's part in a capture: graphs hold its state, which can be exchanged as an object."""

    def __init__(self, state: list[int]) -> None:
        self.state = state

    def clone_state(self) -> "GeneratorOnGpu":
        return GeneratorOnGpu(list(self.state))

    def graphsafe_get_state(self) -> "GeneratorOnGpu":
        return GeneratorOnGpu(self.state)

    def graphsafe_set_state(self, other: "GeneratorOnGpu") -> None:
        self.state = other.state


def test_captured_graphs_draw_from_their_own_runs_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = GeneratorOnGpu([7])
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    monkeypatch.setattr(torch.cuda, "default_generators", (shared,))
    runs = [OwnGenerators(torch.device("cuda", 0)) for _ in range(2)]
    captured = []
    for seed, run in enumerate(runs):
        with run.in_place():
            shared.state[0] = 100 * seed
            captured.append(shared.state)
    for _ in range(3):
        for run, offset in zip(runs, captured, strict=True):
            with run.in_place():
                assert shared.state is offset
                offset[0] += 1  # a replay's draw
    assert captured == [[3], [103]]
    assert shared.state == [7]
