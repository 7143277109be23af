import os
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sweeps import SERVER, has_begun, records, start, statuses, sweep, wait_until

from senet_lab.cli import main
from senet_lab.runs import execute
from senet_lab.training.loop import Training


def count_epochs(log: Path, both_are_ready: Any) -> None:
    """Have each epoch that this process trains told in `log`; wait for the other process."""
    original = Training.epoch

    def counted(self: Training, stop: Any) -> Any:
        with log.open("a") as file:
            file.write(f"seed={self.seed} epoch={self.epochs_done}\n")
        return original(self, stop)

    Training.epoch = counted  # type: ignore[method-assign]
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
    for process, own, other in zip(processes, told, reversed(processes), strict=False):
        complete = "3 of 3 runs finished" in own
        assert process.exitcode == (0 if complete else 1)
        if not complete:
            assert f"held by process {other.pid} on" in " ".join(own.replace("│", " ").split())
    found = records(tmp_path)
    assert {run: found[run] for run in undisturbed} == undisturbed


def test_the_lock_of_a_dead_process_is_taken_over(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    process = start(sweep(tmp_path, "epochs=4"), tmp_path / "log.txt", partial(die_in_epoch, 2))
    process.join()
    assert statuses(tmp_path)["seed=0"]["state"] == "running"
    assert next(tmp_path.rglob("seed=0/.lock")).exists()
    assert main(sweep(tmp_path, "epochs=4")) == 0
    assert records(tmp_path) == undisturbed


def die_in_epoch(epoch: int) -> None:
    original = Training.epoch

    def dying(self: Training, stop: Any) -> Any:
        if self.epochs_done == epoch:
            os.kill(os.getpid(), 9)
        return original(self, stop)

    Training.epoch = dying  # type: ignore[method-assign]


def test_a_clock_that_goes_backwards_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: dict[str, Any]
) -> None:
    process = start(sweep(tmp_path, "epochs=4"), tmp_path / "log.txt", partial(die_in_epoch, 2))
    process.join()
    in_ten_years = time.time() + 10 * 365 * 86400
    for file in tmp_path.rglob("*"):
        os.utime(file, (in_ten_years, in_ten_years))
    monkeypatch.setattr(execute, "_now", lambda: "1970-01-01T00:00:00+00:00")
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert main(sweep(tmp_path, "epochs=4")) == 0
    assert records(tmp_path) == undisturbed


def test_another_terminal_watches_until_the_sweep_is_done(tmp_path: Path) -> None:
    sweeping = start(sweep(tmp_path, "epochs=8"), tmp_path / "log.txt")
    wait_until(has_begun(tmp_path))
    question = ["status", f"outputs={tmp_path / 'outputs'}", "watch=true"]
    watching = start(question, tmp_path / "watched.txt")
    watching.join()
    assert watching.exitcode == 0
    assert {status["state"] for status in statuses(tmp_path).values()} == {"finished"}
    assert "2 runs: 2 finished; epochs 16.0/16" in (tmp_path / "watched.txt").read_text()
    sweeping.join()
    assert sweeping.exitcode == 0
