"""A comparison trained for real: what its runs look at, and that neither rungs nor a stop change a number."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from protocols import arguments_of
from support import rows_without_seconds, tiny_arrays
from sweeps import start, wait_until

from senet_lab.cli import main
from senet_lab.records.plan import read_plan
from senet_lab.records.run import FINAL, RunDirectory
from senet_lab.records.sweep import SweepDirectory


def training(folder: Path) -> list[str]:
    """The command that trains a small comparison by halving, on a sixth of the digits."""
    data = ["dataset=arrays", f"dataset.path={tiny_arrays(folder, 240, 120)}", "dataset.label=digits"]
    halving = ["epochs=3", "protocol.tuning=halving", "protocol.widen=false"]
    return ["train", *arguments_of(folder, *data, *halving, "hydra/launcher=serial")]


def sweep_of(folder: Path) -> SweepDirectory:
    return SweepDirectory(folder / "outputs" / "verdict")


def tables_of(folder: Path) -> dict[str, Any]:
    """The rows of every run but for seconds, by its directory."""
    runs = sweep_of(folder).find_runs()
    return {directory: rows_without_seconds(run.metrics_file) for directory, run in runs.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small comparison, trained to its end."""
    path = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOKY_MAX_CPU_COUNT", "1")
        assert main(training(path)) == 0
    return path


def test_tuning_never_reads_the_test_images_and_confirmation_once(folder: Path) -> None:
    plan = read_plan(sweep_of(folder))
    assert plan is not None
    tested = {"tune": set(), "confirm": set()}
    for run in plan.runs:
        assert run.role is not None
        measured = sweep_of(folder).run(run.directory).metrics()["test_top1"].notna().tolist()
        tested[run.role.stage].add(tuple(measured))
    assert tested["tune"] == {(False,), (False, False, False)}
    assert tested["confirm"] == {(False, False, True)}


def test_a_rung_goes_on_as_a_run_without_a_pause(folder: Path, tmp_path: Path) -> None:
    plan = read_plan(sweep_of(folder))
    assert plan is not None
    run = next(run for run in plan.runs if run.continues)
    record = sweep_of(folder).run(run.directory)
    overrides = [*run.overrides, f"outputs={tmp_path}", "hydra/launcher=serial", "protocol=null"]
    overrides = [word for word in overrides if not word.startswith(("experiment=", "protocol."))]
    whole = ["train", *overrides, "model=cnn3", "dataset.validation=0.2", "name=whole"]
    assert main(whole) == 0
    (alone,) = SweepDirectory(tmp_path / "whole").find_runs().values()
    assert rows_without_seconds(alone.metrics_file) == rows_without_seconds(record.metrics_file)
    assert not record.checkpoint_file.exists()


def test_the_report_leads_with_the_answer(folder: Path) -> None:
    asked = ["experiment=verdict", f"outputs={folder / 'outputs'}"]
    assert main(["report", *asked]) == 0
    page = sweep_of(folder).report_file.read_text()
    block = "Three-layer CNN on digits"
    names = (
        "Verdict",
        f"{block}: differences",
        f"{block}: final",
        f"{block}: validation",
        "Every two",
        "Methods",
    )
    places = [page.index(f"<h2>{name}") for name in (*names, f"{block}, test=")]
    assert places == sorted(places)
    verdict, differences, *_, methods, curves = places
    assert "has the lowest mean error" in page[verdict:differences]
    assert "<figure" in page[differences:methods]
    assert "shared by all arms and no tuning run" in page[methods:curves]
    assert "three times the epochs: the trials with the lowest mean training error" in page[methods:curves]


@pytest.mark.parametrize("x", ["seconds", "images"])
def test_curves_are_drawn_against_cost_too(folder: Path, x: str) -> None:
    asked = ["experiment=verdict", f"outputs={folder / 'outputs'}", f"figures.x={x}", "formats=[html]"]
    assert main(["plot", *asked]) == 0
    curves = pd.read_csv(sweep_of(folder).figures / f"curves_val_error_{x}.csv")
    cost = curves.dropna(subset="mean").groupby(["figure", "line"])[x]
    assert (cost.diff().dropna() > 0).all()
    assert len(list(sweep_of(folder).figures.glob(f"*_val_error_{x}.html"))) == curves["figure"].nunique()


def test_curves_of_test_error_are_refused_where_it_is_read_once(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    asked = ["experiment=verdict", f"outputs={folder / 'outputs'}", "figures.metric=test_error"]
    for verb in ("plot", "report"):
        assert main([verb, *asked]) == 2
        assert "the test images are not evaluated at each epoch" in capfd.readouterr().err


def test_status_tells_the_stages(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "experiment=verdict", f"outputs={folder / 'outputs'}"]) == 0
    assert "tune: 12 of 12 runs at the end; confirm: 6 of 6 runs" in capfd.readouterr().out


def ended(folder: Path, stage: str) -> int:
    """How many runs of a stage are at their end."""
    files = (sweep_of(folder).runs / stage).rglob("status.json")
    return sum(RunDirectory(file.parent).status().state in FINAL for file in files)


def test_a_comparison_killed_in_each_stage_goes_on_to_the_same_end(folder: Path, tmp_path: Path) -> None:
    arguments = training(tmp_path)
    for stage, least in (("tune", 3), ("confirm", 1)):
        process = start(arguments, tmp_path / "log")
        wait_until(lambda stage=stage, least=least: ended(tmp_path, stage) >= least)
        process.kill()
        process.join()
    assert main(arguments) == 0
    assert tables_of(tmp_path) == tables_of(folder)
    one, other = (
        json.loads((sweep_of(path).verdict_json).read_text())["pairs"] for path in (folder, tmp_path)
    )
    assert one == other
