"""The line that tells how far a sweep is, from statuses and a clock that the tests make up."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from records_on_disk import run_config
from rich.console import Console

from senet_lab.records.plan import PlannedRun
from senet_lab.records.run import State, Status
from senet_lab.records.survey import Survey
from senet_lab.records.sweep import SweepDirectory
from senet_lab.runs.progress import SweepProgress

EPOCHS, IMAGES = 10, 100


class Clock:
    """A clock that stands still."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("senet_lab.runs.progress.time", clock)
    return clock


def status(epochs: float, seconds: float, state: State = State.RUNNING) -> Status:
    """Of a run whose epochs so far took `seconds`."""
    whole = int(epochs)
    return Status(
        state,
        epochs_done=whole,
        images_done=round(IMAGES * epochs),
        images_per_epoch=IMAGES,
        seconds=seconds * whole / epochs if epochs else 0.0,
        epoch_seconds=seconds * (1 - whole / epochs) if epochs else 0.0,
    )


class Told(SweepProgress):
    """The progress of a sweep of two runs whose statuses a test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *before: Status, workers: int = 1) -> None:
        self.next = before
        monkeypatch.setattr("senet_lab.records.survey.readable_status", lambda *_: next(self.read))
        self.read: Iterator[Status] = iter(before)
        config = {**run_config("small"), "epochs": EPOCHS}
        runs = [PlannedRun(f"run_{number}", "", "", [], 1, 0, config) for number in range(len(before))]
        super().__init__(Survey(SweepDirectory(Path()), runs), workers, Console())

    def after(self, *statuses: Status) -> str:
        """The line once the runs have these statuses."""
        self.read = iter(statuses)
        self.refresh()
        return self.line()


def test_a_first_epoch_with_warm_up_does_not_count_once_others_are_there(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first epoch takes 110 seconds, of which 100 to compile; the others take 10."""
    told = Told(monkeypatch, Status(), Status())
    clock.now = 110
    assert "about 0:34:50 left" in told.after(status(1, 110), Status())  # 19 epochs of 110 seconds
    clock.now = 120
    assert "about 0:03:00 left" in told.after(status(2, 120), Status())  # 18 of 10
    clock.now = 150
    assert "about 0:02:30 left" in told.after(status(5, 150), Status())


def test_a_resumed_sweep_goes_by_its_own_pace(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted in the ninth epoch, of 100 seconds each; it resumes after the eighth, with 5 an epoch.

    Until it has loaded its checkpoint, its status tells of no epoch.
    """
    told = Told(monkeypatch, status(8.5, 850, State.INTERRUPTED), Status())
    clock.now = 2
    loading = Status(State.RUNNING, epochs=EPOCHS)
    assert " 0 images/s" in told.after(loading, Status())
    told.after(status(8, 800), Status())
    clock.now = 10
    line = told.after(replace(status(9, 805), seconds=805, epoch_seconds=0), Status())
    assert " 10 images/s" in line
    told.after(replace(status(9, 805), seconds=805, epoch_seconds=0), Status())
    clock.now = 15
    line = told.after(replace(status(10, 810, State.FINISHED), seconds=810), status(0.5, 2.5))
    assert "about 0:00:48 left" in line  # 9.5 epochs of 5 seconds


def test_a_run_that_failed_is_not_waited_for(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told(monkeypatch, Status(), Status())
    clock.now = 20
    line = told.after(status(1, 10, State.FAILED), status(1, 10))
    assert "1 running · 1 failed" in line
    assert "about 0:01:30 left" in line
