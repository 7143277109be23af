from pathlib import Path
from typing import Any

import pytest

from senet_lab.runs.directory import RunDirectory, State
from senet_lab.runs.survey import living_status

RUNNING = {"state": "running", "epochs_done": 3, "pid": 12, "host": "here", "error": None}


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    directory = RunDirectory(tmp_path)
    directory.write_status(RUNNING)
    return directory


def test_a_run_whose_lock_is_held_is_running(run: RunDirectory) -> None:
    with run.lock():
        assert living_status(run) == RUNNING


def test_a_run_whose_lock_is_free_was_interrupted(run: RunDirectory) -> None:
    ended = {**RUNNING, "state": "interrupted", "error": "process 12 on here ended without a word"}
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
        run.write_status({**RUNNING, "state": "finished"})
        return False

    monkeypatch.setattr(RunDirectory, "is_held", ends)
    assert living_status(run)["state"] is State.FINISHED


def test_a_lock_that_cannot_be_had_leaves_the_word_of_the_record(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    with run.lock():
        pass

    def read_only(*_: Any, **__: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("filelock.FileLock.acquire", read_only)
    assert living_status(run)["state"] is State.RUNNING
