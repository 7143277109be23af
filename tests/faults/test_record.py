"""The record is checked, not believed: what disturbs it while a run writes to it, and what it is told by."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sweeps import Stop, at_step, held_in, hold, records, start, statuses, sweep, wait_until

from senet_lab.cli import main
from senet_lab.errors import UsageError
from senet_lab.files import append_lines, read_bytes, remove_temporaries, write_atomic
from senet_lab.records.run import RunDirectory
from senet_lab.runs import execute

LEFTOVER = ".status.json.0123456789ab.tmp"


def one_run(folder: Path, *overrides: str) -> list[str]:
    return sweep(folder, "epochs=4", "seed=0", *overrides)


def die(_: Stop) -> None:
    signal.raise_signal(signal.SIGKILL)


def died_in_its_third_epoch(folder: Path, outputs: Path, *overrides: str) -> Path:
    """The directory of a run that a kill ended there."""
    process = start(one_run(folder, *overrides), folder / "log.txt", partial(at_step, 2, 0, die))
    process.join()
    return next(outputs.rglob("checkpoint.pt")).parent


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in (".pt", ".csv")}


def delete(directory: Path) -> None:
    shutil.rmtree(directory)


def replace(directory: Path) -> None:
    copy = directory.with_name("copy")
    shutil.copytree(directory, copy)
    shutil.rmtree(directory)
    copy.rename(directory)


@pytest.mark.parametrize("act", [delete, replace])
def test_a_directory_that_is_deleted_or_replaced_ends_its_run(
    tmp_path: Path, outputs: Path, act: Callable[[Path], None], undisturbed: dict[str, Any]
) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    process = start(one_run(tmp_path), tmp_path / "log.txt", partial(at_step, 2, 0, partial(hold, gate)))
    wait_until(held_in(tmp_path, 2, "seed=0"))
    directory = next(outputs.rglob("status.json")).parent
    act(directory)
    left = content(directory) if directory.exists() else None
    gate.unlink()
    process.join()
    assert process.exitcode == 1
    assert (
        "the directory was deleted or replaced while the run wrote to it"
        in (tmp_path / "log.txt").read_text()
    )
    assert (content(directory) if directory.exists() else None) == left
    assert main(one_run(tmp_path)) == 0
    assert records(tmp_path) == {"seed=0": undisturbed["seed=0"]}


def test_a_plan_that_is_replaced_while_a_command_starts_ends_that_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    original = execute.execute

    def late(*arguments: Any) -> Any:
        monkeypatch.undo()
        assert main(sweep(tmp_path, "epochs=1", "plan=new", "seed=0")) == 0
        return original(*arguments)

    monkeypatch.setattr(execute, "execute", late)
    assert main(sweep(tmp_path, "epochs=4", "seed=1")) == 1
    assert "plan.json was replaced: this run is not in it any more" in capfd.readouterr().err
    assert list(statuses(tmp_path)) == ["seed=0"]


def test_a_checkpoint_that_cannot_be_read_fails_the_run_and_stays(
    tmp_path: Path, outputs: Path, undisturbed: dict[str, Any]
) -> None:
    directory = died_in_its_third_epoch(tmp_path, outputs)
    file, kept = directory / "checkpoint.pt", directory / "kept"
    file.rename(kept)
    file.mkdir()
    rows = (directory / "metrics.csv").read_bytes()
    assert main(one_run(tmp_path)) == 1
    status = statuses(tmp_path)["seed=0"]
    assert status["state"] == "failed"
    assert f"{file} is not a regular file" in status["error"]
    assert (directory / "metrics.csv").read_bytes() == rows
    file.rmdir()
    kept.rename(file)
    assert main(one_run(tmp_path)) == 0
    assert records(tmp_path) == {"seed=0": undisturbed["seed=0"]}


@pytest.mark.parametrize("how", ["damaged", "does not fit"])
def test_a_checkpoint_that_is_of_no_use_is_set_aside(
    tmp_path: Path, outputs: Path, how: str, undisturbed: dict[str, Any]
) -> None:
    directory = died_in_its_third_epoch(tmp_path, outputs)
    file = directory / "checkpoint.pt"
    if how == "damaged":
        file.write_bytes(file.read_bytes()[:-100])
    else:
        state = torch.load(file, weights_only=True)
        state["network"]["head.weight"] = torch.zeros(3)
        torch.save(state, file)
    before = content(directory)
    assert main(one_run(tmp_path)) == 0
    (note,) = statuses(tmp_path)["seed=0"]["notes"]
    assert how in note
    assert note.endswith("this run starts again; its old files are kept as *.before-1.*")
    for name, data in before.items():
        stem, suffix = name.split(".")
        assert (directory / f"{stem}.before-1.{suffix}").read_bytes() == data
    assert records(tmp_path) == {"seed=0": undisturbed["seed=0"]}


def fill_the_errors() -> None:
    os.dup2(os.open("/dev/full", os.O_WRONLY), 2)


def test_a_run_does_not_fail_for_want_of_space_for_its_notes(
    tmp_path: Path, outputs: Path, undisturbed: dict[str, Any]
) -> None:
    directory = died_in_its_third_epoch(tmp_path, outputs)
    (directory / "checkpoint.pt").write_bytes(b"damaged")
    process = start(one_run(tmp_path), tmp_path / "second.txt", fill_the_errors)
    process.join()
    assert process.exitcode == 0
    assert len(statuses(tmp_path)["seed=0"]["notes"]) == 1
    assert records(tmp_path) == {"seed=0": undisturbed["seed=0"]}


def test_a_finished_run_whose_status_is_lost_is_not_trained_over(
    tmp_path: Path, outputs: Path, capfd: pytest.CaptureFixture[str], undisturbed: dict[str, Any]
) -> None:
    assert main(one_run(tmp_path)) == 0
    directory = next(outputs.rglob("status.json")).parent
    (directory / "status.json").unlink()
    before = content(directory)
    assert main(one_run(tmp_path)) == 1
    assert main(one_run(tmp_path, "plan=new")) == 2
    assert "has begun; use another name=" in capfd.readouterr().err
    assert content(directory) == before
    assert main(["retry", "name=default", f"outputs={outputs.parent}", "hydra/launcher=serial"]) == 0
    assert (directory / "metrics.before-1.csv").read_bytes() == before["metrics.csv"]
    assert records(tmp_path) == {"seed=0": undisturbed["seed=0"]}


def test_rows_of_a_finished_run_whose_status_was_changed_are_kept(
    tmp_path: Path, outputs: Path, undisturbed: dict[str, Any]
) -> None:
    assert main(one_run(tmp_path)) == 0
    file = next(outputs.rglob("status.json"))
    file.with_name("checkpoint.pt").unlink()
    rows = file.with_name("metrics.csv").read_bytes()
    file.write_text(file.read_text().replace('"finished"', '"interrupted"', 1))
    assert main(one_run(tmp_path)) == 0
    assert file.with_name("metrics.before-1.csv").read_bytes() == rows
    assert records(tmp_path) == {"seed=0": undisturbed["seed=0"]}


def test_data_that_changed_are_refused_and_put_back_are_taken(
    tmp_path: Path, outputs: Path, undisturbed: dict[str, Any]
) -> None:
    died_in_its_third_epoch(tmp_path, outputs)
    data = tmp_path / "tiny.npz"
    whole = data.read_bytes()
    arrays = dict(np.load(data))
    arrays["x_train"][0] ^= 1
    np.savez(data, **arrays)
    process = start(one_run(tmp_path), tmp_path / "second.txt")
    process.join()
    assert process.exitcode == 1
    error = statuses(tmp_path)["seed=0"]["error"]
    assert "the data have changed since this sweep began" in error
    assert "put them back, use another name=, or delete" in error
    data.write_bytes(whole)
    process = start(one_run(tmp_path), tmp_path / "third.txt")
    process.join()
    assert process.exitcode == 0
    assert records(tmp_path) == {"seed=0": undisturbed["seed=0"]}


def test_going_on_elsewhere_is_noted_and_stays_noted(
    tmp_path: Path, outputs: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    directory = died_in_its_third_epoch(tmp_path, outputs)
    file = directory / "environment.json"
    content = json.loads(file.read_text())
    content["attempts"][0] |= {"torch": "1.0", "precision": "other"}
    file.write_text(json.dumps(content))
    process = start(one_run(tmp_path), tmp_path / "second.txt", partial(at_step, 3, 0, die))
    process.join()
    assert main(one_run(tmp_path)) == 0
    (note,) = statuses(tmp_path)["seed=0"]["notes"]
    assert f"resumes with torch {torch.__version__} instead of 1.0, precision " in note
    assert note.endswith(" instead of other")


def test_strict_refuses_to_go_on_elsewhere_and_keeps_everything(
    tmp_path: Path, outputs: Path, undisturbed: dict[str, Any]
) -> None:
    arguments = one_run(tmp_path, "checkpoint.strict=true")
    directory = died_in_its_third_epoch(tmp_path, outputs, "checkpoint.strict=true")
    file, before = directory / "environment.json", content(directory)
    here = file.read_text()
    file.write_text(here.replace(f'"torch": "{torch.__version__}"', '"torch": "1.0"'))
    assert main(arguments) == 1
    error = statuses(tmp_path)["seed=0"]["error"]
    assert (
        f"checkpoint.strict=true: {directory} would resume with torch {torch.__version__} instead of 1.0"
        in error
    )
    assert content(directory) == before
    file.write_text(here)
    assert main(arguments) == 0
    assert records(tmp_path) == {"seed=0": undisturbed["seed=0"]}


def test_a_run_whose_rows_were_changed_is_told_and_retry_trains_it_again(
    tmp_path: Path, outputs: Path, capfd: pytest.CaptureFixture[str], undisturbed: dict[str, Any]
) -> None:
    assert main(one_run(tmp_path)) == 0
    assert main(["verify", f"outputs={outputs.parent}"]) == 0
    (file,) = outputs.rglob("metrics.csv")
    changed = file.read_text().replace(",0.", ",1.", 1)
    file.write_text(changed)
    capfd.readouterr()
    assert main(one_run(tmp_path)) == 1
    told = " ".join(capfd.readouterr().out.split())
    assert "0 of 1 run finished" in told
    assert f"senet-lab retry name=default outputs={outputs.parent}" in told
    assert file.read_text() == changed
    assert main(["retry", "name=default", f"outputs={outputs.parent}", "hydra/launcher=serial"]) == 0
    assert records(tmp_path) == {"seed=0": undisturbed["seed=0"]}
    assert file.with_name("metrics.before-1.csv").read_text() == changed


def test_time_and_accuracy_are_those_of_the_rows_after_going_on(tmp_path: Path, outputs: Path) -> None:
    directory = died_in_its_third_epoch(tmp_path, outputs)
    status = json.loads((directory / "status.json").read_text())
    (directory / "status.json").write_text(json.dumps(status | {"seconds": 1e6}))
    assert main(one_run(tmp_path)) == 0
    status = statuses(tmp_path)["seed=0"]
    assert status["seconds"] == pytest.approx(sum(RunDirectory(directory).metric("seconds")))
    assert status["epoch_seconds"] == 0.0


def test_speed_is_never_negative(
    tmp_path: Path, outputs: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    directory = died_in_its_third_epoch(tmp_path, outputs)
    status = json.loads((directory / "status.json").read_text())
    (directory / "status.json").write_text(json.dumps(status | {"images_done": 10**9}))
    monkeypatch.setattr("senet_lab.runs.progress.REFRESH_SECONDS", 0.01)
    monkeypatch.setattr("senet_lab.runs.progress.PLAIN_LINE_SECONDS", 0.0)
    assert main(one_run(tmp_path)) == 0
    lines = [line for line in capfd.readouterr().out.splitlines() if "images/s" in line]
    assert lines
    assert not [line for line in lines if "· -" in line]


def test_the_code_is_hashed_when_it_is_loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = execute.source_hash()
    monkeypatch.setattr("senet_lab.records.plan.PACKAGE", tmp_path)
    assert execute.source_hash() == before


def link_to(folder: Path, path: Path) -> Path:
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    path.symlink_to(elsewhere)
    return elsewhere


def test_a_run_directory_swapped_for_a_link_after_planning_is_not_written(
    tmp_path: Path, outputs: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    original = execute.execute
    directory = outputs / "runs/resnet18/tact/lr=0.001/seed=0"

    def late(*arguments: Any) -> Any:
        directory.parent.mkdir(parents=True)
        link_to(tmp_path, directory)
        return original(*arguments)

    monkeypatch.setattr(execute, "execute", late)
    assert main(one_run(tmp_path)) == 1
    assert f"{directory} is a symbolic link: it is not followed" in capfd.readouterr().err
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("place", ["a/b.txt", "a", "b.txt"])
def test_no_link_below_the_root_is_followed(tmp_path: Path, place: str) -> None:
    root, secret = tmp_path / "root", tmp_path / "secret"
    secret.mkdir()
    (secret / "b.txt").write_text("key\n")
    target = {"a/b.txt": secret / "b.txt", "a": secret, "b.txt": secret / "b.txt"}[place]
    link = root / place
    link.parent.mkdir(parents=True)
    link.symlink_to(target)
    file = link / "b.txt" if place == "a" else link
    with pytest.raises(UsageError, match="is a symbolic link: it is not followed"):
        read_bytes(file, root)
    with pytest.raises(UsageError, match="is a symbolic link: it is not followed"):
        append_lines(file, "more\n", root)
    if place == "a":
        with pytest.raises(UsageError, match="is a symbolic link: it is not followed"):
            write_atomic(file, "more\n", root)
    else:
        write_atomic(file, "more\n", root)  # takes the link's place
        assert not file.is_symlink()
    assert (secret / "b.txt").read_text() == "key\n"


def test_only_leftovers_of_dead_processes_are_removed(tmp_path: Path) -> None:
    mine = [tmp_path / name for name in (".notes.tmp", ".draft.0123.tmp", "x.0123456789ab.tmp", "plain")]
    for file in [*mine, tmp_path / LEFTOVER]:
        file.write_text("")
    link_to(tmp_path, tmp_path / ".link.0123456789ab.tmp")
    remove_temporaries(tmp_path)
    assert all(file.exists() for file in mine)
    assert (tmp_path / ".link.0123456789ab.tmp").is_symlink()
    assert not (tmp_path / LEFTOVER).exists()


def test_what_a_living_process_writes_is_not_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = os.replace
    seen = []

    def meanwhile(*arguments: Any, **options: Any) -> None:
        remove_temporaries(tmp_path)
        seen.extend(tmp_path.iterdir())
        original(*arguments, **options)

    monkeypatch.setattr(os, "replace", meanwhile)
    write_atomic(tmp_path / "a.txt", "whole")
    assert len(seen) == 1
    assert (tmp_path / "a.txt").read_text() == "whole"


def test_a_folder_that_cannot_be_synced_is_written_nevertheless(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = os.fsync

    def fsync(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").is_dir():
            raise OSError(22, "Invalid argument")
        original(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    write_atomic(tmp_path / "a/b.txt", "whole")
    assert (tmp_path / "a/b.txt").read_text() == "whole"
