"""The surroundings of an attempt: the checkout that the package runs from."""

import shutil
import subprocess
from pathlib import Path

import pytest

from senet_lab.records.run import Git
from senet_lab.runs import environment

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "__init__.py").write_text("")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    monkeypatch.setattr(environment, "PACKAGE", tmp_path)
    return tmp_path


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    done = subprocess.run(["git", *who, *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def state() -> Git | None:
    return environment.git_state.__wrapped__()


def test_a_repository_without_a_commit_has_no_state(checkout: Path) -> None:
    assert state() is None


def test_commit_and_edits_are_told(checkout: Path) -> None:
    git(checkout, "commit", "-qm", "first")
    commit = git(checkout, "rev-parse", "HEAD")
    assert state() == Git(commit, dirty=False)
    (checkout / "__init__.py").write_text("edited = True\n")
    assert state() == Git(commit, dirty=True)
