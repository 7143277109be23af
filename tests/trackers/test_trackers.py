"""Each library with its local store: what it holds afterwards, read back by its own means."""

import json
import os
import signal
import subprocess
import sys
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from readers import Tracked, read
from support import tiny
from sweeps import start, statuses, sweep

from senet_lab.cli import main
from senet_lab.figures.browser import find_chromium
from senet_lab.records.run import RunDirectory
from senet_lab.records.sweep import SweepDirectory
from senet_lab.training import loop
from senet_lab.training.loop import Stop, Training

CURVES = {"tensorboard": "_Events", "mlflow": "_Run", "wandb": "_Run"}


def check_holds_each_epoch_once(tracked: Tracked, record: RunDirectory) -> None:
    """Steps are the epochs, and values those of `metrics.csv`; TensorBoard keeps them in single precision."""
    expected = record.metrics().dropna(axis="columns", how="all").to_dict("records")
    assert [step for step, _ in tracked.rows] == [row["epoch"] for row in expected]
    for (_, values), row in zip(tracked.rows, expected, strict=True):
        assert values == pytest.approx({key: row[key] for key in row if key != "epoch"}, rel=1e-6)


def check_mirrors(library: str, folder: Path) -> dict[str, Tracked]:
    """One run in the tracker for each run directory, with its config, rows, figure and state."""
    tracked = read(library, folder)
    records = list(SweepDirectory(folder).find_runs().values())
    assert [name for name, _ in tracked] == [str(run.path.relative_to(folder)) for run in records]
    for (_, run), record in zip(tracked, records, strict=True):
        check_holds_each_epoch_once(run, record)
        config = record.plain_config()
        for key in ("seed", "lr", "model.name", "optimizer._target_", "trainer.deterministic"):
            head, _, tail = key.partition(".")
            assert run.config[key] == (config[head][tail] if tail else config[head])
        assert run.state == record.status().state
        assert len(run.pictures) == (1 if find_chromium() else 0)
        assert all(picture.startswith(b"\x89PNG") for picture in run.pictures)
    return dict(tracked)


def test_nothing_is_sent_through_a_link_out_of_the_sweep(
    tmp_path: Path, outputs: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorboard")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    outputs.mkdir(parents=True)
    (outputs / "tracking").symlink_to(elsewhere)
    assert main([*sweep(tmp_path, "seed=0", "epochs=1"), "tracker=tensorboard"]) == 0
    assert f"{outputs / 'tracking'} is a symbolic link: it is not followed" in capfd.readouterr().err
    assert list(elsewhere.iterdir()) == []


def test_runs_are_one_tracker_run_each_and_are_not_sent_again(
    tmp_path: Path,
    outputs: Path,
    library: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    # The launching process alone knows of trackers: one of them is enough to see that workers do not matter.
    workers = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2") if library == "tensorboard" else ()
    assert main(sweep(tmp_path, *workers, f"tracker={library}")) == 0
    assert len(check_mirrors(library, outputs)) == 2
    # What was sent is not sent again; and the sweep is the same with a tracker as without.
    plan = (outputs / "plan.json").read_bytes()
    assert all("tracker" not in run["plain"] for run in json.loads(plan)["runs"])
    monkeypatch.setattr(import_module(f"senet_lab.trackers.{library}"), CURVES[library], None)
    capfd.readouterr()
    assert main(sweep(tmp_path, f"tracker={library}")) == 0
    assert main(sweep(tmp_path)) == 0
    told = capfd.readouterr()
    assert (told.out.count("2 of 2 runs are finished already\n2 of 2 runs finished"), told.err) == (2, "")
    assert (outputs / "plan.json").read_bytes() == plan


def die_after_sending(library: str, epoch: int) -> None:
    """Have this process killed once it has sent an epoch of any run."""
    os.environ.pop("WANDB_SERVICE", None)  # of the process that this one was forked from
    curve: Any = getattr(import_module(f"senet_lab.trackers.{library}"), CURVES[library])
    log = curve.log

    def log_and_die(self: Any, at: int, values: Any) -> None:
        log(self, at, values)
        if at == epoch:
            os.kill(os.getpid(), signal.SIGKILL)

    curve.log = log_and_die


def test_killed_while_it_sends_and_given_again(tmp_path: Path, outputs: Path, library: str) -> None:
    arguments = sweep(tmp_path, "epochs=4", f"tracker={library}")
    process = start(arguments, tmp_path / "log.txt", partial(die_after_sending, library, 1))
    process.join()
    assert process.exitcode == -signal.SIGKILL, (tmp_path / "log.txt").read_text()
    assert main(arguments) == 0
    check_mirrors(library, outputs)


def test_a_run_that_fails_and_goes_on_continues_its_curve(
    tmp_path: Path, outputs: Path, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = sweep(tmp_path, "epochs=3", "seed=0", f"tracker={library}")

    def fail_in_the_third(training: Training, step: int, stop: Stop) -> None:
        if training.epochs_done == 2:
            raise MemoryError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(loop, "step_hooks", [fail_in_the_third])
        assert main(arguments) == 1
    ((_, failed),) = read(library, outputs)
    assert ([step for step, _ in failed.rows], failed.state) == ([0, 1], "failed")
    assert main(arguments) == 0
    (tracked,) = check_mirrors(library, outputs).values()
    assert [values["seconds"] for _, values in tracked.rows[:2]] == [row["seconds"] for _, row in failed.rows]


def test_a_sweep_that_ran_without_is_caught_up_unless_another_sends_it(tmp_path: Path, outputs: Path) -> None:
    pytest.importorskip("tensorboard")
    assert main(sweep(tmp_path)) == 0
    held, free = SweepDirectory(outputs).find_runs().values()
    folder = outputs / "tracking/tensorboard" / held.path.relative_to(outputs)
    folder.mkdir(parents=True)
    with FileLock(folder / ".lock"):
        assert main(sweep(tmp_path, "tracker=tensorboard")) == 0
    ((name, _),) = read("tensorboard", outputs)
    assert outputs / name == free.path
    assert main(sweep(tmp_path, "tracker=tensorboard")) == 0
    check_mirrors("tensorboard", outputs)


def test_a_tracker_that_fails_costs_itself_alone(
    tmp_path: Path, outputs: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorboard")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("senet_lab.trackers.tensorboard._Events.log", full)
        assert main(sweep(tmp_path, "tracker=tensorboard")) == 0
    error = capfd.readouterr().err
    assert error.startswith("tracker=tensorboard failed, and nothing more is sent to it: OSError: [Errno 28]")
    assert error.count("\n") == 1
    assert {status["state"] for status in statuses(outputs).values()} == {"finished"}
    assert main(sweep(tmp_path, "tracker=tensorboard")) == 0
    check_mirrors("tensorboard", outputs)


@pytest.mark.parametrize("name", CURVES)
def test_a_missing_library_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.setattr("senet_lab.extras.find_spec", lambda _: None)
    assert main(["train", *tiny(tmp_path), f"tracker={name}"]) == 2
    line = f"tracker={name} needs {name}, which is not installed: pip install 'senet-lab[{name}]'\n"
    assert capfd.readouterr().err == f"senet-lab: {line}"
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("tracker=wandbb", "tracker=wandbb: there is no such tracker; did you mean wandb?"),
        ("tracker=wandb tracker._target_=os.system", "must name a class in one of senet_lab.trackers"),
        ("tracker=wandb tracker._target_=senet_lab.trackers.nowhere.WandB", "must name a class in one of"),
        ("tracker=wandb +tracker.project=mine", "unexpected keyword argument 'project'"),
    ],
)
def test_a_tracker_that_cannot_be(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], override: str, message: str
) -> None:
    assert main(["train", *tiny(tmp_path), *override.split()]) == 2
    assert message in capfd.readouterr().err
    assert not (tmp_path / "outputs").exists()


def test_without_a_tracker_none_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys; from senet_lab.cli import main; code = main(sys.argv[1:]);"
        "sys.exit(code or ' '.join({'tensorboard', 'mlflow', 'wandb'} & set(sys.modules)) or None)"
    )
    line = [sys.executable, "-c", code, "train", *tiny(tmp_path), "epochs=1", "hydra/launcher=serial"]
    found = subprocess.run(line, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert not (tmp_path / "outputs/default/tracking").exists()
