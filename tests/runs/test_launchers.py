"""The same sweep on every engine, with one of its workers killed in the middle."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from support import tiny
from sweeps import records, start, statuses, sweep, wait_until

from senet_lab.cli import main
from senet_lab.runs import launchers

EPOCHS = 20
JOBLIB = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
RAY = ("hydra/launcher=ray", "hydra.launcher.num_cpus=2")
SUBMITIT = ("hydra/launcher=submitit_local", "hydra.launcher.at_a_time=2")


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one process makes of the sweep."""
    folder = tmp_path_factory.mktemp("expected")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOKY_MAX_CPU_COUNT", "1")
        assert main(sweep(folder, f"epochs={EPOCHS}")) == 0
    return records(folder)


def worker_of(folder: Path, run: str) -> int:
    """The process that executes a run, once it has an epoch behind it."""
    wait_until(lambda: statuses(folder).get(run, {}).get("epochs_done", 0) > 0)
    return statuses(folder)[run]["pid"]


@pytest.mark.parametrize("launcher", [JOBLIB, RAY, SUBMITIT], ids=["joblib", "ray", "submitit"])
def test_a_killed_worker_costs_its_run_alone(
    tmp_path: Path, expected: dict[str, Any], launcher: tuple[str, ...]
) -> None:
    if launcher is not JOBLIB:
        pytest.importorskip(launcher[0].partition("=")[2].partition("_")[0])
    arguments = sweep(tmp_path, f"epochs={EPOCHS}", *launcher)
    process = start(arguments, tmp_path / "log.txt")
    victim = worker_of(tmp_path, "seed=0")
    assert victim != process.pid
    os.kill(victim, signal.SIGKILL)
    if launcher is SUBMITIT:  # Slurm's warning: the run is queued again, and goes on
        os.kill(worker_of(tmp_path, "seed=1"), signal.SIGUSR1)
        wait_until(lambda: statuses(tmp_path)["seed=1"]["state"] == "interrupted")
        assert statuses(tmp_path)["seed=1"]["error"] == "preempted, and queued again"
    process.join()
    told = (tmp_path / "log.txt").read_text()
    assert process.exitcode == 1, told
    assert "1 of 2 runs finished" in told
    lost, other = statuses(tmp_path)["seed=0"], statuses(tmp_path)["seed=1"]
    assert (lost["state"], other["state"]) == ("failed", "finished")
    assert "worker" in lost["error"] or "job" in lost["error"]
    assert main(sweep(tmp_path, f"epochs={EPOCHS}")) == 0
    assert records(tmp_path) == expected


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
    monkeypatch.setattr(launchers, "find_spec", lambda _: None)
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
        ("hydra/launcher=submitit_local hydra.launcher.at_a_time=x", "at_a_time=x: must be an integer"),
        ("hydra/launcher=submitit_local +hydra.launcher.parameters.nods=2", "hydra/launcher: submitit says"),
        ("hydra/launcher=submitit_slurm", "hydra/launcher: submitit says"),
        ("hydra.launcher._target_=os.system", "os.system is not of senet-lab"),
        ("+hydra.launcher.jobs=3", "unexpected keyword argument 'jobs'"),
    ],
)
def test_a_launcher_that_cannot_be(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], overrides: str, message: str
) -> None:
    assert main(["train", *tiny(tmp_path), *overrides.split()]) == 2
    assert message in capfd.readouterr().err
    assert statuses(tmp_path) == {}
