"""One run, whatever happened to it before: its record ends as that of an undisturbed one."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from support import tiny
from sweeps import leftovers, records, statuses, stop_after, sweep

from senet_lab.cli import main
from senet_lab.runs import execute
from senet_lab.training import loop
from senet_lab.training.loop import Stop, Training


class Killed(BaseException):
    """Nothing catches it: the nearest to kill -9 that one process can do to itself."""


def stop_in(monkeypatch: pytest.MonkeyPatch, name: str, call: int) -> None:
    """Let the run die when it calls `execute.<name>` for the `call`-th time."""
    original = getattr(execute, name)
    calls = iter(range(call))

    def dying(*arguments: Any) -> Any:
        if next(calls, None) is None:
            raise Killed
        return original(*arguments)

    monkeypatch.setattr(execute, name, dying)


def run(folder: Path, *overrides: str) -> list[str]:
    return sweep(folder, "epochs=4", "seed=0", *overrides)


@pytest.mark.parametrize("epoch", range(4))
def test_killed_between_rows_and_checkpoint_at_any_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: dict[str, Any], epoch: int
) -> None:
    stop_in(monkeypatch, "save_checkpoint", epoch)
    with pytest.raises(Killed):
        main(run(tmp_path))
    monkeypatch.undo()
    assert main(run(tmp_path)) == 0
    assert records(tmp_path) == {"seed=0": undisturbed["seed=0"]}


@pytest.mark.parametrize("every", [1, 3])
def test_interrupted_at_any_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: dict[str, Any], every: int
) -> None:
    """Stopped again and again, each time a few steps further, until it is done."""
    for limit in range(2, 30, 5):
        monkeypatch.setattr(loop, "step_hooks", [stop_after(limit)])
        code = main(run(tmp_path, f"checkpoint.every={every}"))
        states = {status["state"] for status in statuses(tmp_path).values()}
        if code == 0:
            break
        assert (code, states) == (1, {"interrupted"})
    assert states == {"finished"}
    assert records(tmp_path) == {"seed=0": undisturbed["seed=0"]}


def test_a_network_that_draws_at_random_goes_on_exactly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = ["model=efficientnet_b0", "se=none", "model.stages=[[2,8,2,1]]", "model.head_channels=16"]
    drops = ["model.dropout=0.3", "model.stochastic_depth=0.5"]

    def words(folder: str) -> list[str]:
        others = [word for word in run(tmp_path / folder) if not word.startswith("model")]
        return [*others, *network, *drops]

    assert main(words("whole")) == 0
    stop_in(monkeypatch, "save_checkpoint", 2)
    with pytest.raises(Killed):
        main(words("parts"))
    monkeypatch.undo()
    torch.rand(5)  # whatever a process does in between
    assert main(words("parts")) == 0
    assert records(tmp_path / "whole") == records(tmp_path / "parts")


def died_in_its_third_epoch(outputs: Path, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    """The directory of a run that a kill ended there."""
    stop_in(monkeypatch, "save_checkpoint", 2)
    with pytest.raises(Killed):
        main(run(folder))
    monkeypatch.undo()
    return next(outputs.rglob("checkpoint.pt")).parent


@pytest.mark.parametrize(
    "how", ["truncated", "zeroed", "of another config", "newer", "rows missing", "other rows", "odd schedule"]
)
def test_a_useless_checkpoint_is_told_and_the_run_starts_again(
    tmp_path: Path,
    outputs: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    undisturbed: dict[str, Any],
    how: str,
) -> None:
    directory = died_in_its_third_epoch(outputs, monkeypatch, tmp_path)
    file = directory / "checkpoint.pt"
    whole = file.read_bytes()
    content = torch.load(file, weights_only=True)
    if how == "truncated":
        file.write_bytes(whole[:-100])
    elif how == "zeroed":
        file.write_bytes(bytes(len(whole)))
    elif how == "rows missing":
        (directory / "metrics.csv").unlink()
    elif how == "other rows":
        metrics = directory / "metrics.csv"
        metrics.write_text(metrics.read_text().replace("0.", "0.0", 1))
        assert main(["verify", f"outputs={outputs.parent}"]) == 1
        assert f"{metrics} has other rows than checkpoint.pt was taken with" in capfd.readouterr().out
    elif how == "odd schedule":
        torch.save(content | {"schedule": content["schedule"] | {"last_epoch": None}}, file)
    else:
        torch.save(content | ({"format": 2} if how == "newer" else {"config_hash": "0"}), file)
    assert main(run(tmp_path)) == 0
    told = capfd.readouterr().err
    assert "this run starts again" in told
    assert str(directory) in told
    assert statuses(tmp_path)["seed=0"]["notes"] == [told.strip().splitlines()[-1]]
    assert records(tmp_path) == {"seed=0": undisturbed["seed=0"]}


def test_going_on_with_other_code_is_told(
    tmp_path: Path,
    outputs: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    directory = died_in_its_third_epoch(outputs, monkeypatch, tmp_path)
    monkeypatch.setattr(execute, "source_hash", lambda: "another")
    assert main(run(tmp_path)) == 0
    assert f"{directory} resumes with other code than it began with" in capfd.readouterr().err


@pytest.mark.parametrize("how", ["torn", "twice"])
def test_rows_are_repaired_from_the_checkpoint(
    tmp_path: Path, outputs: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: dict[str, Any], how: str
) -> None:
    metrics = died_in_its_third_epoch(outputs, monkeypatch, tmp_path) / "metrics.csv"
    text = metrics.read_text()
    metrics.write_text(text[:-9] if how == "torn" else text + text.splitlines(keepends=True)[2])
    assert main(run(tmp_path)) == 0
    assert records(tmp_path) == {"seed=0": undisturbed["seed=0"]}


def test_rows_with_another_header_are_refused(
    tmp_path: Path, outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = died_in_its_third_epoch(outputs, monkeypatch, tmp_path) / "metrics.csv"
    text = metrics.read_text().replace("epoch", "era")
    metrics.write_text(text)
    assert main(run(tmp_path)) == 1
    assert f"{metrics} lacks the column epoch" in statuses(tmp_path)["seed=0"]["error"]
    assert metrics.read_text() == text


def test_a_run_that_diverges_stops_and_keeps_its_rows(tmp_path: Path, outputs: Path) -> None:
    assert main(sweep(tmp_path, "epochs=4", "lr=1e20,0.001", "seed=0")) == 1
    lost, good = sorted(outputs.rglob("metrics.csv"), key=lambda file: "1e+20" not in str(file))
    status = json.loads((lost.parent / "status.json").read_text())
    assert (status["state"], status["error"]) == ("diverged", "the loss of epoch 0 is not finite")
    assert status["epochs_done"] == len(lost.read_text().splitlines()) - 1 == 1
    assert len(good.read_text().splitlines()) == 5


OUT_OF_MEMORY = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.\nSee the docs.")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OUT_OF_MEMORY, "CUDA out of memory. Tried to allocate 9 GiB. See the docs."),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "can't allocate memory"),
        (MemoryError(), "MemoryError"),
        (ZeroDivisionError("by zero"), "ZeroDivisionError: by zero"),
    ],
)
def test_a_failure_costs_its_run_alone_and_is_retried(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    undisturbed: dict[str, Any],
    error: Exception,
    told: str,
) -> None:
    def failing(training: Training, step: int, stop: Stop) -> None:
        if training.config.seed == 0 and training.epochs_done == 2:
            raise error

    monkeypatch.setattr(loop, "step_hooks", [failing])
    assert main(sweep(tmp_path, "epochs=4")) == 1
    failed, fine = (statuses(tmp_path)[f"seed={seed}"] for seed in (0, 1))
    assert (failed["state"], failed["epochs_done"], fine["state"]) == ("failed", 2, "finished")
    assert told in failed["error"]
    trace = next(tmp_path.rglob("error.txt"))
    assert "in failing" in trace.read_text()
    out = capfd.readouterr().out
    assert "1 of 2 runs finished" in out
    assert "resume unfinished runs with: senet-lab train -m" in out
    monkeypatch.undo()
    assert main(sweep(tmp_path, "epochs=4")) == 0
    assert not trace.exists()
    assert records(tmp_path) == undisturbed


def test_fail_fast_stops_at_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(training: Training, step: int, stop: Stop) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(loop, "step_hooks", [failing])
    assert main(sweep(tmp_path, "seed=0,1,2", "fail_fast=true")) == 1
    assert [status["state"] for status in statuses(tmp_path).values()] == ["failed"]


def test_weights_are_kept_only_if_asked(tmp_path: Path, outputs: Path) -> None:
    arguments = ["train", *tiny(tmp_path), "hydra/launcher=serial", "checkpoint.min_seconds=0"]
    assert main(arguments) == 0
    assert not list(outputs.rglob("checkpoint.pt"))
    assert main([*arguments, "name=kept", "checkpoint.keep=true"]) == 0
    assert list(outputs.parent.rglob("checkpoint.pt"))


def test_what_a_killed_process_left_is_removed(tmp_path: Path, outputs: Path) -> None:
    run_directory = outputs / "runs/resnet18/tact/lr=0.001/seed=0"
    run_directory.mkdir(parents=True)
    (run_directory / ".checkpoint.pt.0123456789ab.tmp").write_bytes(b"half")
    assert main(run(tmp_path)) == 0
    assert leftovers(tmp_path) == []


def test_a_figure_is_complete_before_the_next_one_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log: list[tuple[float, int]] = []

    def logged(training: Training, step: int, stop: Stop) -> None:
        if step == 0:
            log.append((training.config.lr, training.config.seed))

    monkeypatch.setattr(loop, "step_hooks", [logged])
    # The seed is the first axis, so the plan has both figures' runs of seed 0 first.
    words = [word for word in sweep(tmp_path, "epochs=1") if not word.startswith(("seed=", "lr="))]
    assert main([*words, "seed=0,1", "lr=0.02,0.01"]) == 0
    assert log == [(0.02, 0), (0.02, 1), (0.01, 0), (0.01, 1)]
