"""The life of a sweep after it was trained: runs again, runs taken out, in a folder that was moved."""

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

import senet_lab as sl
from senet_lab.cli import main
from senet_lab.config import SELECTING_VERBS

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
    assert "1 run, 1 at a time" in said
    assert "0 of 1 run finished" in said
    assert re.search(r"^resnet18_lr0.001 +TAct +", said, re.MULTILINE)  # of all runs, as `train` tells them
    assert f"figures: senet-lab plot name=d55bf84 outputs={outputs}" in said
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


@pytest.mark.parametrize("link", ["runs/resnet18", "runs/resnet18/tact/lr=0.001/seed=0"])
def test_nothing_is_removed_where_a_link_leads_out_of_the_sweep(
    outputs: Path, capsys: pytest.CaptureFixture[str], link: str
) -> None:
    sweep, elsewhere = outputs / "d55bf84", outputs / "elsewhere"
    (sweep / link).rename(elsewhere)
    (sweep / link).symlink_to(elsewhere)
    plan, there = (sweep / "plan.json").read_bytes(), sorted(elsewhere.rglob("*"))
    assert give("remove", outputs, "activation=tact", "confirm=true") == 2
    assert f"{sweep / link} is a symbolic link: it is not followed" in capsys.readouterr().err
    assert ((sweep / "plan.json").read_bytes(), sorted(elsewhere.rglob("*"))) == (plan, there)
    assert (sweep / "runs/resnet18").exists()


def test_nothing_is_removed_unless_something_is_chosen(
    outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert give("remove", outputs, "confirm=true") == 2
    assert "remove: select runs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("selection", "lines"),
    [
        ([], {("resnet18_lr0.001", "ReLU"), ("resnet18_lr0.001", "TAct"), ("resnet18_lr1e+20", "ReLU")}),
        (["activation=tact"], {("resnet18_lr0.001", "TAct")}),
        (["lr=1e-3", "seed=0"], {("resnet18_lr0.001", "ReLU"), ("resnet18_lr0.001", "TAct")}),
        (["optimizer=adam", "lr=1e20"], {("resnet18_lr1e+20", "ReLU")}),
    ],
)
def test_plot_draws_what_the_command_line_selects(
    outputs: Path, selection: list[str], lines: set[tuple[str, str]]
) -> None:
    assert give("plot", outputs, "formats=[html]", *selection) == 0
    final = pd.read_csv(outputs / "d55bf84/figures/final.csv")
    assert set(zip(final["figure"], final["line"], strict=True)) == lines
    assert (final["runs"] == (1 if "seed=0" in selection else final["runs"])).all()


def test_figures_of_other_selections_are_not_called_stale(
    outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert give("plot", outputs, "formats=[html]") == 0
    assert give("plot", outputs, "formats=[html]", "lr=0.001") == 0
    assert "which nothing here has drawn" not in capsys.readouterr().out


def test_status_report_and_compare_keep_to_the_selection(
    outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert give("status", outputs, "activation=tact") == 0
    said = capsys.readouterr().out
    assert "runs/resnet18/tact/lr=0.001/seed=0" in said
    assert "relu" not in said
    assert "2 runs: " in said
    assert give("report", outputs, "activation=tact") == 0
    page = (outputs / "d55bf84/report.html").read_text("utf-8")
    assert "runs/resnet18/tact/lr=0.001/seed=0" in page
    assert "runs/resnet18/relu/lr=0.001/seed=0" not in page.partition("The plan")[0]
    shutil.copytree(outputs / "d55bf84", outputs / "other")
    assert give("compare", outputs, "against=other", "activation=tact") == 0
    final = pd.read_csv(outputs / "d55bf84/compare/other/final.csv")
    assert set(final["line"]) == {"TAct"}


def test_status_counts_the_figures_that_plot_draws(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    by_activation = ["figures.name=${activation.name}", "figures.title=${activation.label}"]
    by_activation += ["figures.line='lr ${lr}'", "figures.style=null"]
    assert give("plot", outputs, *by_activation, "formats=[html]") == 0
    drawn = {file.stem for file in (outputs / "d55bf84/figures").glob("*.html")}
    capsys.readouterr()
    assert give("status", outputs, *by_activation, "format=json") == 0
    told = json.loads(capsys.readouterr().out)["figures"]
    assert {one["figure"] for one in told} == drawn == {"relu", "tact"}
    assert {one["figure"]: one["runs"] for one in told} == {"relu": 3, "tact": 2}


def contents(folder: Path) -> dict[Path, bytes]:
    """All files but locks."""
    return {file: file.read_bytes() for file in folder.rglob("[!.]*") if file.is_file()}


@pytest.mark.parametrize("verb", SELECTING_VERBS)
def test_a_value_that_no_run_has_is_refused_beside_one_that_some_have(
    verb: str, outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(outputs)
    assert give(verb, outputs, "activation=relu,takt") == 2
    told = "senet-lab: activation=takt: no such run here; did you mean tact? there is relu, tact\n"
    assert capsys.readouterr().err == told
    assert contents(outputs) == before


@pytest.mark.parametrize("verb", ["plot", "report"])
def test_a_value_of_a_damaged_run_is_no_unknown_value(
    verb: str, outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for table in (outputs / "d55bf84").glob("runs/resnet18/relu/lr=1e+20/*/metrics.csv"):
        table.write_text(table.read_text().replace(".", "_"))
    assert give(verb, outputs, "lr=0.001,1e20") == 1
    capsys.readouterr()
    if verb == "report":
        assert "1 damaged" in (outputs / "d55bf84/report.html").read_text("utf-8")
        assert give(verb, outputs, "lr=0.001") == 0
        assert "1 damaged" not in (outputs / "d55bf84/report.html").read_text("utf-8")


@pytest.mark.parametrize("verb", ["plot", "report", "compare", "status", "watch"])
def test_a_selection_of_nothing_is_one_line_and_exit_code_2(
    verb: str, outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert give(verb, outputs, "activation=gelu") == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", "senet-lab: activation=gelu: no such run here; there is relu, tact\n")
    assert not (outputs / "d55bf84/figures").exists()
