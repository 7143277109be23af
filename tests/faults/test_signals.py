import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sweeps import (
    Stop,
    at_step,
    held_in,
    hold,
    in_workers,
    leftovers,
    records,
    start,
    statuses,
    sweep,
    wait_until,
)

from senet_lab import files
from senet_lab.cli import main
from senet_lab.composition import command
from senet_lab.records.run import RunDirectory, State
from senet_lab.records.survey import living_status
from senet_lab.runs import planning

SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
SWEEP = ("epochs=4",)
JOBLIB = (*SWEEP, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")


def raise_in_step(number: int, times: int, _: Stop) -> None:
    for _ in range(times):
        signal.raise_signal(number)


@pytest.mark.parametrize(("epoch", "step"), [(0, 0), (1, 2), (3, 3)], ids=["first", "middle", "last"])
@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_signal_interrupts_and_the_same_command_goes_on(
    tmp_path: Path, undisturbed: dict[str, Any], number: int, code: int, epoch: int, step: int
) -> None:
    in_that_step = partial(at_step, epoch, step, partial(raise_in_step, number, 1))
    process = start(sweep(tmp_path, *SWEEP), tmp_path / "log.txt", in_that_step)
    process.join()
    assert process.exitcode == code
    (status,) = statuses(tmp_path).values()  # the second run has not begun
    assert (status["state"], status["epochs_done"]) == ("interrupted", epoch)
    assert "interrupted; resume with: senet-lab train -m" in (tmp_path / "log.txt").read_text()
    assert main(sweep(tmp_path, *SWEEP)) == 0
    assert records(tmp_path) == undisturbed


def test_a_signal_reaches_the_workers(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    process = start_held(tmp_path)
    os.kill(process.pid, signal.SIGTERM)
    process.join()
    assert process.exitcode == 143
    assert {status["state"] for status in statuses(tmp_path).values()} == {"interrupted"}
    assert "interrupted; resume with: senet-lab train -m" in (tmp_path / "log.txt").read_text()
    assert main(sweep(tmp_path, *SWEEP)) == 0
    assert records(tmp_path) == undisturbed


def start_held(folder: Path) -> Any:
    """A sweep on two workers, each in the second epoch of a run, which nothing but a signal ends."""
    gate = folder / "gate"
    gate.touch()
    process = start(
        sweep(folder, *JOBLIB),
        folder / "log.txt",
        partial(in_workers, partial(at_step, 1, 2, partial(hold, gate))),
    )
    wait_until(held_in(folder, 1, "seed=0", "seed=1"))
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["in the step", "while the first is written down"])
def test_the_second_signal_ends_at_once_and_leaves_valid_files(
    tmp_path: Path, undisturbed: dict[str, Any], number: int, moment: str
) -> None:
    act = (
        partial(raise_in_step, number, 2)
        if moment == "in the step"
        else partial(raise_again_in_write, number)
    )
    process = start(sweep(tmp_path, *SWEEP), tmp_path / "log.txt", partial(at_step, 1, 2, act))
    process.join()
    assert process.exitcode == -number  # which a shell shows as 130 or 143
    assert statuses(tmp_path)["seed=0"]["state"] == "running"
    assert main(sweep(tmp_path, *SWEEP)) == 0
    assert records(tmp_path) == undisturbed
    assert leftovers(tmp_path) == []


def raise_again_in_write(number: int, _: Stop) -> None:
    def fsync(_: int) -> None:
        signal.raise_signal(number)

    signal.raise_signal(number)
    files.os.fsync = fsync


def test_workers_end_with_a_launcher_that_was_killed(tmp_path: Path) -> None:
    process = start_held(tmp_path)
    workers = {status["pid"] for status in statuses(tmp_path).values()}
    assert len(workers - {process.pid}) == 2
    process.kill()
    process.join()
    wait_until(lambda: not any(is_alive(pid) for pid in workers))
    # On a busy machine a worker may be ended before it could write so: then its free lock tells.
    runs = [RunDirectory(file.parent) for file in tmp_path.rglob("status.json")]
    assert {living_status(run).state for run in runs} == {State.INTERRUPTED}


def is_alive(pid: int) -> bool:
    """Whether there is such a process; one that nobody has asked for its exit code is none."""
    try:
        return "(python" in (text := Path(f"/proc/{pid}/stat").read_text()) and ") Z" not in text
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_signal_while_the_sweep_is_planned(tmp_path: Path, number: int, code: int) -> None:
    process = start(sweep(tmp_path), tmp_path / "log.txt", partial(signal_in_plan, number))
    process.join()
    assert process.exitcode == code
    assert "interrupted; resume with: senet-lab train -m" in (tmp_path / "log.txt").read_text()
    assert not list(tmp_path.rglob("plan.json"))
    assert leftovers(tmp_path) == []


def signal_in_plan(number: int) -> None:
    def freeze(*_: object) -> None:
        os.kill(os.getpid(), number)

    planning.freeze = freeze  # type: ignore[assignment]


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_signal_before_the_sweep_is_planned(tmp_path: Path, number: int, code: int) -> None:
    process = start(sweep(tmp_path), tmp_path / "log.txt", partial(signal_in_compose, number))
    process.join()
    assert process.exitcode == code
    assert (tmp_path / "log.txt").read_text() == "senet-lab: interrupted\n"
    assert not (tmp_path / "outputs").exists()


def signal_in_compose(number: int) -> None:
    def compose_command(*_: object, **__: object) -> None:
        signal.raise_signal(number)

    command.compose_command = compose_command  # type: ignore[assignment]
