import os
import signal
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sweeps import SERVER, Stop, at_step, held_in, hold, records, start, statuses, sweep, wait_until

from senet_lab.cli import main
from senet_lab.runs import execute
from senet_lab.training.loop import Training, step_hooks


def count_epochs(log: Path, both_are_ready: Any) -> None:
    """Have each epoch that this process trains told in `log`; wait for the other process."""

    def tell(training: Training, step: int, stop: Stop) -> None:
        if step == 0:
            with log.open("a") as file:
                file.write(f"seed={training.config.seed} epoch={training.epochs_done}\n")

    step_hooks.append(tell)
    both_are_ready.wait()


def test_two_sweeps_in_one_folder_execute_every_run_once(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    arguments = sweep(tmp_path, "epochs=4", "seed=0,1,2")
    log = tmp_path / "epochs.txt"
    with SERVER.Manager() as manager:
        ready = partial(count_epochs, log, manager.Barrier(2))
        processes = [start(arguments, tmp_path / f"log{number}.txt", ready) for number in range(2)]
        for process in processes:
            process.join()
    assert Counter(log.read_text().splitlines()) == {
        f"seed={seed} epoch={epoch}": 1 for seed in range(3) for epoch in range(4)
    }
    assert {status["state"] for status in statuses(tmp_path).values()} == {"finished"}
    told = [(tmp_path / f"log{number}.txt").read_text() for number in range(2)]
    assert [process.exitcode for process in processes] == [
        0 if "3 of 3 runs finished" in own else 1 for own in told
    ]
    found = records(tmp_path)
    assert {run: found[run] for run in undisturbed} == undisturbed


def test_a_run_that_another_sweep_holds_is_left_to_it(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    first = start(
        sweep(tmp_path, "epochs=4"), tmp_path / "first.txt", partial(at_step, 1, 0, partial(hold, gate))
    )
    wait_until(held_in(tmp_path, 1, "seed=0"))
    second = start(sweep(tmp_path, "epochs=4"), tmp_path / "second.txt")
    second.join()
    assert second.exitcode == 1
    told = " ".join((tmp_path / "second.txt").read_text().replace("│", " ").split())
    assert "1 of 2 runs finished" in told
    assert f"held by process {first.pid} on" in told
    watch = f"name=default outputs={tmp_path / 'outputs'} watch=true"
    assert f"held runs continue in their process; watch them with: senet-lab status {watch}" in told
    assert "resume unfinished runs" not in told
    gate.unlink()
    first.join()
    assert first.exitcode == 0
    assert {run: status["pid"] for run, status in statuses(tmp_path).items()} == {
        "seed=0": first.pid,
        "seed=1": second.pid,
    }
    assert records(tmp_path) == undisturbed


def die(_: Stop) -> None:
    signal.raise_signal(signal.SIGKILL)


def test_the_lock_of_a_dead_process_is_taken_over(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    process = start(sweep(tmp_path, "epochs=4"), tmp_path / "log.txt", partial(at_step, 2, 0, die))
    process.join()
    assert statuses(tmp_path)["seed=0"]["state"] == "running"
    assert next(tmp_path.rglob("seed=0/.lock")).exists()
    assert main(sweep(tmp_path, "epochs=4")) == 0
    assert records(tmp_path) == undisturbed


def test_a_clock_that_goes_backwards_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: dict[str, Any]
) -> None:
    process = start(sweep(tmp_path, "epochs=4"), tmp_path / "log.txt", partial(at_step, 2, 0, die))
    process.join()
    in_ten_years = time.time() + 10 * 365 * 86400
    for file in tmp_path.rglob("*"):
        os.utime(file, (in_ten_years, in_ten_years))
    monkeypatch.setattr(execute, "_now", lambda: "1970-01-01T00:00:00+00:00")
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert main(sweep(tmp_path, "epochs=4")) == 0
    assert records(tmp_path) == undisturbed


def test_another_terminal_watches_until_the_sweep_is_done(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    sweeping = start(sweep(tmp_path), tmp_path / "log.txt", partial(at_step, 1, 0, partial(hold, gate)))
    wait_until(held_in(tmp_path, 1, "seed=0"))
    question = ["status", f"outputs={tmp_path / 'outputs'}", "watch=true"]
    watching = start(question, tmp_path / "watched.txt", partial(open_between_looks, gate))
    watching.join()
    assert watching.exitcode == 0
    assert not gate.exists()
    assert {status["state"] for status in statuses(tmp_path).values()} == {"finished"}
    assert "2 runs: 2 finished; epochs 4.0/4" in (tmp_path / "watched.txt").read_text()
    sweeping.join()
    assert sweeping.exitcode == 0


def open_between_looks(gate: Path) -> None:
    """Let what waits at `gate` go on once this process has looked, and sleeps."""
    original = time.sleep

    def sleep(seconds: float) -> None:
        gate.unlink(missing_ok=True)
        original(seconds)

    time.sleep = sleep
