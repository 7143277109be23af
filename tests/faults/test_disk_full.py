"""A limit on the size of files fails a write as a full disk does: part of it is written, then an error."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sweeps import leftovers, records, statuses, sweep

from senet_lab.cli import main
from senet_lab.errors import UsageError
from senet_lab.files import append_lines
from senet_lab.records.run import RunDirectory, State, Status


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_during_a_checkpoint(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    arguments = sweep(tmp_path, "epochs=4")
    with files_of_at_most(20_000):
        assert main(arguments) == 1
    for status in statuses(tmp_path).values():
        assert (status["state"], status["epochs_done"]) == ("failed", 1)
        assert "checkpoint.pt cannot be written: File too large" in status["error"]
        assert "bytes are needed" in status["error"]
    assert leftovers(tmp_path) == []
    assert main(arguments) == 0
    assert records(tmp_path) == undisturbed


def test_during_a_row(tmp_path: Path) -> None:
    file = tmp_path / "metrics.csv"
    file.write_text("epoch\n" + "0\n" * 100)
    before = file.read_text()
    with (
        files_of_at_most(len(before) + 2),
        pytest.raises(UsageError, match=r"metrics.csv cannot be written: File too large; 4 bytes are needed"),
    ):
        append_lines(file, "1\n2\n")
    assert file.read_text() == before


def test_during_a_status(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    status = Status(State.RUNNING, epochs_done=1)
    directory.write_status(status)
    with files_of_at_most(100), pytest.raises(UsageError, match=r"status.json cannot be written"):
        directory.write_status(replace(status, epochs_done=2))
    assert directory.status() == status
    assert leftovers(tmp_path) == []


def test_during_the_plan(tmp_path: Path, outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = sweep(tmp_path)
    assert main(arguments) == 0
    plan = (outputs / "plan.json").read_text()
    capsys.readouterr()
    with files_of_at_most(3000):
        assert main([*arguments, "seed=0,1,2", "plan=extend"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"senet-lab: {outputs / 'plan.json'} cannot be written: File too large; ")
    assert error.count("\n") == 1
    assert (outputs / "plan.json").read_text() == plan
    assert leftovers(tmp_path) == []


def test_when_not_even_the_status_can_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = sweep(tmp_path, "seed=0")
    assert main([*arguments, "seed=9", "name=first"]) == 0  # whose plan and data set are there
    with files_of_at_most(0):
        assert main([*arguments, "seed=9", "name=first"]) == 0  # and which needs nothing written
    capsys.readouterr()
    assert main(arguments) == 0
    file = next((tmp_path / "outputs/default").rglob("status.json"))
    file.unlink()
    file.with_name("metrics.csv").unlink()
    with files_of_at_most(50):
        assert main(arguments) == 1
    assert "config.yaml cannot be written: File too large" in capsys.readouterr().err
    assert leftovers(tmp_path) == []


def test_during_a_figure(tmp_path: Path, outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(sweep(tmp_path, "seed=0")) == 0
    plot = ["plot", f"outputs={tmp_path / 'outputs'}", "formats=[html]"]
    assert main(plot) == 0
    figure = next(outputs.rglob("*.html"))
    before = figure.read_bytes()
    capsys.readouterr()
    with files_of_at_most(10_000):
        assert main(plot) != 0
    assert f"{figure} cannot be written: File too large; {len(before):,} bytes" in capsys.readouterr().err
    assert figure.read_bytes() == before
    assert leftovers(tmp_path) == []
