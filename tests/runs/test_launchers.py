"""The same sweep on every engine, with one of its workers killed in the middle."""

import inspect
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from joblib.externals.loky import process_executor
from support import tiny
from sweeps import at_step, held_in, hold, in_workers, records, start, statuses, sweep, wait_until

from senet_lab.cli import main
from senet_lab.records.run import RunDirectory, Status
from senet_lab.runs.launchers import LOKY_WARNING

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
        assert history[-1] == "interrupted: preempted, and queued again"
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
    assert main(["train", *tiny(tmp_path), *overrides.split()]) == 2
    assert message in capfd.readouterr().err
    assert statuses(tmp_path) == {}


def test_a_worker_that_was_replaced_is_no_news() -> None:
    assert f'"{LOKY_WARNING}"' in inspect.getsource(process_executor), "loky says it in other words now"
    script = (
        "import warnings; from senet_lab.runs.launchers import LOKY_WARNING\n"
        "warnings.warn(LOKY_WARNING + 'executor.'); warnings.warn('Something else.')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "Something else." in done.stderr
    assert LOKY_WARNING not in done.stderr
