"""The life of a sweep after it was trained: runs again, runs taken out, in a folder that was moved."""

import shutil
from pathlib import Path

import pytest

import senet_lab as sl
from senet_lab.cli import main

SWEEPS = Path(__file__).parents[1] / "records" / "sweeps"


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    shutil.copytree(SWEEPS, tmp_path / "moved")
    return tmp_path / "moved"


def give(verb: str, outputs: Path, *overrides: str) -> int:
    return main([verb, "name=d55bf84", f"outputs={outputs}", "hydra/launcher=serial", *overrides])


def states(outputs: Path) -> dict[str, int]:
    return sl.open_sweep(outputs / "d55bf84").runs["state"].value_counts().to_dict()


def test_retry_runs_what_diverged_again_and_nothing_else(
    outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert give("retry", outputs) == 1  # with a learning rate of 1e20 it diverges again
    said = capsys.readouterr().out
    assert "1 runs, 1 at a time" in said
    assert "0 of 1 runs finished" in said
    assert states(outputs) == {"finished": 3, "interrupted": 1, "diverged": 1}
    run = outputs / "d55bf84/runs/resnet18/relu/lr=1e+20/seed=0"
    assert (run / "metrics.before-1.csv").exists()
    assert give("retry", outputs, "activation=tact") == 2
    assert "no run has failed or diverged" in capsys.readouterr().err


def test_remove_lists_what_it_would_remove_and_removes_it_when_told_to(
    outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = ["activation=relu", "lr=0.001,1e20"]
    assert give("remove", outputs, *chosen) == 0
    said = capsys.readouterr().out
    assert "3 of 5 runs would be removed" in said
    assert states(outputs) == {"finished": 3, "interrupted": 1, "diverged": 1}
    assert give("remove", outputs, *chosen, "confirm=true") == 0
    assert states(outputs) == {"finished": 1, "interrupted": 1}
    assert not (outputs / "d55bf84/runs/resnet18/relu/lr=0.001/seed=0").exists()


def test_a_run_that_is_being_executed_is_not_removed(
    outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held = sl.open_sweep(outputs / "d55bf84").directory.run("runs/resnet18/tact/lr=0.001/seed=1")
    with held.lock():
        assert give("remove", outputs, "activation=tact", "confirm=true") == 2
    assert "is being executed: nothing was removed" in capsys.readouterr().err
    assert len(sl.open_sweep(outputs / "d55bf84").runs) == 5


def test_nothing_is_removed_unless_something_is_chosen(
    outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert give("remove", outputs, "confirm=true") == 2
    assert "say which runs" in capsys.readouterr().err
