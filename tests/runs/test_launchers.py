"""The same sweep on every engine, with one of its workers killed in the middle."""

import inspect
import os
import signal
import subprocess
import sys
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from joblib.externals.loky import process_executor
from support import tiny
from sweeps import at_step, held_in, hold, in_workers, records, start, statuses, sweep, wait_until

from senet_lab.cli import main
from senet_lab.config import TrainerConfig
from senet_lab.errors import UsageError
from senet_lab.records.plan import PlannedRun
from senet_lab.records.run import RunDirectory, State, Status
from senet_lab.records.sweep import SweepDirectory
from senet_lab.runs import launchers, ray_launcher, submitit_launcher
from senet_lab.runs.launchers import LOKY_WARNING, Joblib, Pack, _Pools, execute_in_worker
from senet_lab.runs.signals import stop_on_signal
from senet_lab.runs.torchrun_launcher import Torchrun
from senet_lab.training import engine

JOBLIB = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
RAY = ("hydra/launcher=ray", "hydra.launcher.num_cpus=2")
SUBMITIT = ("hydra/launcher=submitit_local", "hydra.launcher.at_a_time=2")


def hold_and_keep_history(gate: Path) -> None:
    """Hold runs in their second epoch, and keep every status that is written, as a line of `history.txt`."""
    at_step(1, 0, partial(hold, gate))
    original = RunDirectory.write_status

    def write_status(self: RunDirectory, status: Status) -> None:
        original(self, status)
        with (self.path / "history.txt").open("a") as file:
            file.write(f"{status.state}: {status.error}\n")

    RunDirectory.write_status = write_status  # type: ignore[method-assign]


@pytest.mark.parametrize("launcher", [JOBLIB, RAY, SUBMITIT], ids=["joblib", "ray", "submitit"])
def test_a_killed_worker_costs_its_run_alone(
    tmp_path: Path, undisturbed: dict[str, Any], launcher: tuple[str, ...]
) -> None:
    if launcher is not JOBLIB:
        pytest.importorskip(launcher[0].partition("=")[2].partition("_")[0])
    gate = tmp_path / "gate"
    gate.touch()
    process = start(
        sweep(tmp_path, "epochs=4", *launcher),
        tmp_path / "log.txt",
        partial(in_workers, partial(hold_and_keep_history, gate)),
    )
    wait_until(held_in(tmp_path, 1, "seed=0", "seed=1"))
    victim, other = (statuses(tmp_path)[run]["pid"] for run in ("seed=0", "seed=1"))
    assert len({victim, other, process.pid}) == 3
    os.kill(victim, signal.SIGKILL)
    if launcher is SUBMITIT:  # Slurm's warning: the run is queued again, and goes on in another process
        os.kill(other, signal.SIGUSR1)
        wait_until(lambda: statuses(tmp_path)["seed=1"]["pid"] != other)
        history = next(tmp_path.rglob("seed=1/history.txt")).read_text().splitlines()
        assert history[-1] == "interrupted: preempted and requeued"
    gate.unlink()
    process.join()
    told = (tmp_path / "log.txt").read_text()
    assert process.exitcode == 1, told
    assert "1 of 2 runs finished" in told
    lost, going = statuses(tmp_path)["seed=0"], statuses(tmp_path)["seed=1"]
    assert (lost["state"], going["state"]) == ("failed", "finished")
    assert "worker" in lost["error"] or "job" in lost["error"]
    assert main(sweep(tmp_path, "epochs=4")) == 0
    assert records(tmp_path) == undisturbed


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            "hydra/launcher=ray",
            "this launcher needs ray, which is not installed: pip install 'senet-lab[ray]'",
        ),
        (
            "hydra/launcher=submitit_slurm",
            "needs submitit, which is not installed: pip install 'senet-lab[slurm]'",
        ),
        ("hydra/launcher=submitit_local", "pip install 'senet-lab[slurm]'"),
    ],
)
def test_a_missing_extra_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    overrides: str,
    message: str,
) -> None:
    monkeypatch.setattr("senet_lab.extras.find_spec", lambda _: None)
    assert main(["train", *tiny(tmp_path), overrides]) == 2
    error = capfd.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("hydra/launcher=ray hydra.launcher.gpus_per_run=-1", "gpus_per_run=-1: must be a number, 0 or more"),
        ("hydra/launcher=ray hydra.launcher.num_cpus=0", "num_cpus=0: must be an integer of 1 or more"),
        ("hydra/launcher=submitit_local hydra.launcher.cluster=pbs", "cluster=pbs: must be slurm or local"),
        ("hydra/launcher=submitit_local hydra.launcher.at_a_time=x", "at_a_time=x: Expected `int | null`"),
        ("hydra/launcher=submitit_local +hydra.launcher.parameters.nods=2", "hydra/launcher: submitit says"),
        ("hydra/launcher=submitit_slurm", "hydra/launcher: submitit says"),
        (
            "hydra.launcher._target_=os.system",
            "os.system: must name a class in one of senet_lab.runs.launchers.Joblib",
        ),
        ("+hydra.launcher.jobs=3", "unexpected keyword argument 'jobs'"),
    ],
)
def test_a_launcher_that_cannot_be(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], overrides: str, message: str
) -> None:
    for extra in ("ray", "submitit"):
        if f"launcher={extra}" in overrides:
            pytest.importorskip(extra)
    assert main(["train", *tiny(tmp_path), *overrides.split()]) == 2
    assert message in capfd.readouterr().err
    assert statuses(tmp_path) == {}


def test_jobs_are_not_kept_behind_a_link(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("submitit")
    elsewhere, jobs = tmp_path / "elsewhere", tmp_path / "outputs/default/jobs"
    elsewhere.mkdir()
    jobs.parent.mkdir(parents=True)
    jobs.symlink_to(elsewhere)
    assert main(["train", *tiny(tmp_path), "hydra/launcher=submitit_local"]) == 2
    assert f"{jobs} is a symbolic link: it is not followed" in capfd.readouterr().err
    assert list(elsewhere.iterdir()) == []


def test_a_worker_that_was_replaced_is_no_news() -> None:
    assert f'"{LOKY_WARNING}"' in inspect.getsource(process_executor), "loky says it in other words now"
    script = (
        "import warnings; from senet_lab.runs.launchers import LOKY_WARNING\n"
        "warnings.warn(LOKY_WARNING + 'executor.'); warnings.warn('Something else.')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "Something else." in done.stderr
    assert LOKY_WARNING not in done.stderr


def packs_on(device: str, count: int = 5, compiled: bool = False) -> list[Pack]:
    """Packs of one run each, as far as launchers look at them."""
    config = SimpleNamespace(trainer=TrainerConfig(device, compile=compiled))
    return [[cast(PlannedRun, SimpleNamespace(config=config, threads=1))] for _ in range(count)]


@pytest.mark.parametrize(
    ("device", "gpus", "workers"),
    [("auto", 2, 2), ("cuda", 1, 1), ("cuda:1", 2, 1), ("cpu", 2, 4), ("auto", 0, 4)],
)
def test_on_gpus_the_default_is_one_process_each(
    monkeypatch: pytest.MonkeyPatch, device: str, gpus: int, workers: int
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(launchers, "cpu_count", lambda: 4)
    assert Joblib().workers(packs_on(device)) == workers
    assert Joblib(n_jobs=3).workers(packs_on(device)) == 3


def test_processes_share_the_gpus_evenly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with _Pools(SweepDirectory(tmp_path), 3, gpus=2) as pools:
        assert [gpu for _, gpu in pools.idle] == [0, 1, 0]
    with _Pools(SweepDirectory(tmp_path), 2, gpus=0) as pools:
        assert [gpu for _, gpu in pools.idle] == [None, None]
    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    assert execute_in_worker(SweepDirectory(tmp_path), [], 1) == []
    assert execute_in_worker(SweepDirectory(tmp_path), []) == []
    assert chosen == [1]


def test_joblib_tells_each_process_its_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[Any, ...]] = []

    class Pool:
        def submit(self, *call: Any) -> Future:
            told.append(call)
            done: Future = Future()
            done.set_result([State.FINISHED])
            return done

        def shutdown(self, kill_workers: bool) -> None: ...

    monkeypatch.setattr(launchers, "_pool", Pool)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    packs = packs_on("cuda", 4)
    with stop_on_signal() as stop:
        assert list(Joblib().launch(SweepDirectory(tmp_path), packs, stop)) == [State.FINISHED] * 4
    assert [call[0] for call in told] == [execute_in_worker] * 4
    assert sorted(call[-1] for call in told) == [0, 0, 1, 1]


def test_submitit_on_this_machine_has_runs_on_a_gpu_only_where_it_shows_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(submitit_launcher, "require_extra", lambda *_: None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UsageError, match="submitit hides the GPU from these runs; add"):
        submitit_launcher.Submitit("local").workers(packs_on("auto"))
    shown = {"gpus_per_node": 1}
    assert submitit_launcher.Submitit("local", parameters=shown).workers(packs_on("auto")) == 1
    assert submitit_launcher.Submitit("local", at_a_time=3).workers(packs_on("cpu")) == 3
    assert submitit_launcher.Submitit("slurm").workers(packs_on("auto")) == 5


def test_ray_gives_runs_on_a_gpu_a_share_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_launcher, "require_extra", lambda *_: None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UsageError, match="gpus_per_run=0: these runs use a GPU"):
        ray_launcher.Ray().workers(packs_on("auto"))
    assert ray_launcher.Ray(gpus_per_run=0.5).workers(packs_on("auto")) == 4
    assert ray_launcher.Ray(num_cpus=3).workers(packs_on("cpu")) == 3


@pytest.mark.parametrize(
    ("device", "gpus", "backend"),
    [("auto", 2, "cpu:gloo,cuda:nccl"), ("cpu", 2, "gloo"), ("auto", 0, "gloo")],
)
def test_torchrun_follows_the_runs_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, gpus: int, backend: str
) -> None:
    class Chosen(Exception):  # noqa: N818
        """Ends the launch where the process group would be set up."""

    def set_up(name: str) -> None:
        raise Chosen(name)

    placed: list[int] = []
    monkeypatch.setattr(torch.distributed, "init_process_group", set_up)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "set_device", placed.append)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("LOCAL_RANK", "1")
    with stop_on_signal() as stop, pytest.raises(Chosen, match=f"^{backend}$"):
        next(iter(Torchrun().launch(SweepDirectory(tmp_path), packs_on(device), stop)))
    assert placed == ([1] if "nccl" in backend else [])


def test_torchrun_takes_no_compiled_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    assert Torchrun().workers(packs_on("cpu")) == 1
    with pytest.raises(UsageError, match=r"trainer\.compile=true: hydra/launcher=torchrun cannot"):
        Torchrun().workers(packs_on("cpu", compiled=True))


def test_what_a_launcher_refuses_leaves_no_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    words = [*sweep(tmp_path, "hydra/launcher=torchrun"), "trainer.device=cpu"]
    monkeypatch.setattr(engine, "_require_compiler", lambda _: None)
    assert main([*words, "trainer.compile=true"]) == 2
    assert "torchrun cannot compile" in capfd.readouterr().err
    assert not list(tmp_path.rglob("plan.json"))
