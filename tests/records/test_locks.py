"""A lock that is waited for says who holds it, and what cannot be locked is told in one line."""

import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from senet_lab.errors import UsageError
from senet_lab.records import locks
from senet_lab.records.locks import wait_for

FORK = multiprocessing.get_context("fork")


def hold(path: Path, held: Any, leave: Any) -> None:
    with wait_for(path):
        held.set()
        leave.wait()


@pytest.fixture
def holder(tmp_path: Path) -> Any:
    held, leave = FORK.Event(), FORK.Event()
    process = FORK.Process(target=hold, args=(tmp_path / "lock", held, leave))
    process.start()
    held.wait()
    yield process, leave
    leave.set()
    process.join()


def test_a_wait_says_for_whom_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], holder: Any
) -> None:
    process, leave = holder
    monkeypatch.setattr(locks, "SILENT_SECONDS", 0.0)
    monkeypatch.setattr("builtins.print", lambda *words, **_: (said.append(words[0]), leave.set()))
    said: list[str] = []
    with wait_for(tmp_path / "lock"):
        assert (tmp_path / "lock").read_text().split()[0] != str(process.pid)
    assert len(said) == 1
    assert said[0].startswith(f"waiting for {tmp_path / 'lock'}, held by process {process.pid} on ")


def test_a_wait_without_end_gives_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, holder: Any) -> None:
    process, _ = holder
    monkeypatch.setattr(locks, "SILENT_SECONDS", 0.0)
    monkeypatch.setattr(locks, "PATIENT_SECONDS", 0.0)
    told = f"is still held by process {process.pid} on .*: repeat the command later"
    with pytest.raises(UsageError, match=told), wait_for(tmp_path / "lock"):
        pass


def test_a_file_that_is_linked_to_the_lock_keeps_its_content(tmp_path: Path) -> None:
    other = tmp_path / "plan.json"
    other.write_text(100 * "mine")
    (tmp_path / "lock").hardlink_to(other)
    with wait_for(tmp_path / "lock"):
        pass
    assert other.read_text() == 100 * "mine"


def test_a_link_is_not_locked(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("mine")
    (tmp_path / "lock").symlink_to(other)
    with pytest.raises(UsageError, match="lock cannot be locked"), wait_for(tmp_path / "lock"):
        pass
    assert other.read_text() == "mine"
