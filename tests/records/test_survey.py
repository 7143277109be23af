import fcntl
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from records_on_disk import run_config

from senet_lab.records.plan import PlannedRun
from senet_lab.records.run import RunDirectory, State, Status
from senet_lab.records.survey import Survey, living_status
from senet_lab.records.sweep import SweepDirectory

RUNNING = Status(State.RUNNING, epochs_done=3, pid=12, host="here")


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    directory = RunDirectory(tmp_path)
    directory.write_status(RUNNING)
    return directory


def test_a_run_whose_lock_is_held_is_running(run: RunDirectory) -> None:
    with run.lock():
        assert living_status(run) == RUNNING


def test_a_run_whose_lock_is_free_was_interrupted(run: RunDirectory) -> None:
    error = "process 12 on here ended without recording why"
    ended = replace(RUNNING, state=State.INTERRUPTED, error=error)
    assert living_status(run) == ended  # no lock was ever made, or it was lost in a copy
    assert [file.name for file in run.path.iterdir()] == ["status.json"]  # nor by looking
    with run.lock():
        pass
    assert living_status(run) == ended
    assert run.status() == RUNNING


def test_a_run_that_ends_while_somebody_looks_is_what_it_became(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ends(_: RunDirectory) -> bool:
        run.write_status(replace(RUNNING, state=State.FINISHED))
        return False

    monkeypatch.setattr(RunDirectory, "is_held", ends)
    assert living_status(run).state is State.FINISHED


def cannot_write(*_: Any, **__: Any) -> None:
    raise OSError(30, "Read-only file system")


def test_a_dead_run_that_can_only_be_read_does_not_show_as_running(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    with run.lock(), monkeypatch.context() as patch:
        patch.setattr("filelock.FileLock.acquire", cannot_write)
        assert living_status(run).state is State.RUNNING
    monkeypatch.setattr("filelock.FileLock.acquire", cannot_write)
    assert living_status(run).state is State.INTERRUPTED


def test_readers_do_not_take_each_other_for_an_owner(run: RunDirectory) -> None:
    with run.lock():
        pass
    with (run.path / ".lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)  # as another reader does for a moment
        assert living_status(run).state is State.INTERRUPTED


def test_a_lock_that_cannot_be_asked_leaves_the_word_of_the_record(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    with run.lock():
        pass
    monkeypatch.setattr("filelock.FileLock.acquire", cannot_write)
    monkeypatch.setattr("fcntl.flock", cannot_write)
    assert living_status(run).state is State.RUNNING


def survey_of(macs: Mapping[str, int] = MappingProxyType({}), **statuses: Status) -> Survey:
    """Of runs of ten epochs whose names begin with their models', whose epochs have `macs`."""
    runs = []
    for name in statuses:
        config = {**run_config(name.split("_")[0]), "epochs": 10}
        run = PlannedRun(name, "", "", [], 1, 0, config, epoch_macs=macs.get(name.split("_")[0], 0))
        runs.append(run)
    return Survey(SweepDirectory(Path()), runs, statuses)


def under_way(epochs: float, seconds: float) -> Status:
    return Status(
        State.RUNNING,
        epochs_done=int(epochs),
        images_done=round(100 * epochs),
        images_per_epoch=100,
        seconds=0.5 * seconds,
        epoch_seconds=0.5 * seconds,
    )


PLANNED = Status()


def test_the_time_left_is_unknown_until_a_part_of_an_epoch_is_done() -> None:
    assert survey_of(small_1=PLANNED, small_2=under_way(0, 3)).seconds_left(1) is None


def test_no_run_has_begun_more_epochs_than_are_planned() -> None:
    wrong = replace(under_way(5, 100), images_done=2**52)
    survey = survey_of(small_1=wrong, small_2=PLANNED)
    assert survey.epochs() == (10, 20)
    assert survey.seconds_left(1) == pytest.approx(10 * 100 / 10)


def test_the_time_left_counts_parts_of_epochs_on_both_sides() -> None:
    """A quarter of an epoch took 5 seconds, so 9.75 epochs and another run's 10 take 20 seconds each."""
    survey = survey_of(small_1=under_way(0.25, 5), small_2=PLANNED)
    assert survey.seconds_left(1) == pytest.approx(19.75 * 20)
    assert survey.seconds_left(2) == pytest.approx(10 * 20), "no run is divided between two workers"


def test_the_time_left_goes_by_model_and_by_the_mean_where_one_has_not_begun() -> None:
    finished = replace(under_way(10, 20), state=State.FINISHED)
    survey = survey_of(small_1=finished, small_2=PLANNED, large_1=under_way(5, 100), other_1=PLANNED)
    assert survey.seconds_left(1) == pytest.approx(10 * 2 + 5 * 20 + 10 * (120 / 15))


def test_a_model_that_has_not_begun_takes_time_by_its_multiply_accumulates() -> None:
    """An epoch of the large one took 20 seconds, so one of the small one, of a tenth of its work, takes 2."""
    macs = {"large": 1000, "small": 100}
    survey = survey_of(macs, large_1=under_way(5, 100), large_2=PLANNED, small_1=PLANNED)
    assert survey.seconds_left(1) == pytest.approx(15 * 20 + 10 * 2)
    survey = survey_of(macs, large_1=under_way(5, 100), small_1=under_way(1, 5), small_2=PLANNED)
    assert survey.seconds_left(1) == pytest.approx(5 * 20 + 19 * 5), "measured, where there is a measure"


def test_epochs_count_alike_where_the_cost_of_one_is_unknown() -> None:
    survey = survey_of({"large": 1000}, large_1=under_way(5, 100), small_1=PLANNED)
    assert survey.seconds_left(1) == pytest.approx(15 * 20)


def test_the_pace_since_the_marks_counts_for_the_models_that_were_trained_since() -> None:
    """Before the marks, on a slower machine, an epoch took 100 seconds, of either model."""
    slow = under_way(5, 500)
    finished = replace(under_way(10, 1000), state=State.FINISHED)
    survey = survey_of(small_1=under_way(7, 500 + 2 * 3), small_2=PLANNED, large_1=finished, large_2=PLANNED)
    marks = {"small_1": slow, "small_2": PLANNED, "large_1": finished, "large_2": PLANNED}
    assert survey.seconds_left(1, marks) == pytest.approx((3 + 10) * 3 + 10 * 100)


def test_a_run_that_failed_since_the_marks_is_not_waited_for() -> None:
    failed, damaged = replace(PLANNED, state=State.FAILED), replace(PLANNED, state=State.DAMAGED)
    survey = survey_of(small_1=under_way(5, 10), small_2=failed, small_3=failed, small_4=damaged)
    marks = {"small_1": PLANNED, "small_2": failed, "small_3": PLANNED, "small_4": damaged}
    assert survey.seconds_left(1, marks) == pytest.approx((5 + 10) * 2), "small_2 is still to be repeated"


def test_two_workers_take_as_long_as_the_longest_run() -> None:
    survey = survey_of(small_1=under_way(9, 90), small_2=under_way(1, 10))
    assert survey.seconds_left(2) == pytest.approx(9 * 10)
    assert survey.seconds_left(1) == pytest.approx(10 * 10)
