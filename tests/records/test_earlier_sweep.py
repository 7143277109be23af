"""A sweep that commit d55bf84 wrote: finished, interrupted with a checkpoint, and diverged runs."""

import json
import shutil
from pathlib import Path

import pytest
import torch

import senet_lab as sl
from senet_lab.cli import main

COMMAND = [
    "-m", "name=d55bf84", "model=resnet18", "model.depths=[1,1]", "model.widths=[8,16]",
    "activation=relu,tact", "seed=0,1", "epochs=3", "trainer.precision=float32",
    "checkpoint.min_seconds=0", "hydra/launcher=serial",
]  # fmt: skip
INTERRUPTED = "runs/resnet18/tact/lr=0.001/seed=1"
LAST_ROW = {
    "train_loss": 2.2060025294124044,
    "test_loss": 2.2313830905490453,
    "test_top5": 0.7388888888888889,
}
"""Of the interrupted run, where that commit went on with it."""


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    shutil.copytree(Path(__file__).parent / "sweeps", tmp_path, dirs_exist_ok=True)
    return tmp_path


def states(outputs: Path) -> dict[str, int]:
    return sl.open_sweep(outputs / "d55bf84").runs["state"].value_counts().to_dict()


def train(outputs: Path, *overrides: str) -> int:
    return main(["train", *COMMAND, f"outputs={outputs}", *overrides])


def test_it_opens_and_a_column_that_it_lacks_reads_as_missing(outputs: Path) -> None:
    sweep = sl.open_sweep(outputs / "d55bf84")
    assert states(outputs) == {"finished": 3, "interrupted": 1, "diverged": 1}
    assert sweep.metrics.groupby("run").size().tolist() == [3, 3, 1, 3, 2]
    assert sweep.metrics["images"].isna().all()
    assert sweep.metrics["test_top1"].notna().all()


def test_the_same_command_goes_on_from_its_checkpoint_to_the_same_numbers(outputs: Path) -> None:
    run = outputs / "d55bf84" / INTERRUPTED
    before = (run / "metrics.csv").read_text().splitlines()
    assert train(outputs) == 0
    after = (run / "metrics.csv").read_text().splitlines()
    assert [line.split(",")[:8] for line in after[:3]] == [line.split(",") for line in before]
    sweep = sl.open_sweep(outputs / "d55bf84")
    last = sweep.metrics[sweep.metrics["run"] == INTERRUPTED].iloc[-1]
    # Another processor rounds otherwise, so that a prediction in a hundred may change.
    assert last[list(LAST_ROW)].to_dict() == pytest.approx(LAST_ROW, rel=2e-2)
    assert last["images"] == 3 * 1437
    coefficients = (run / "activations.csv").read_text().splitlines()
    assert coefficients[0] == "epoch,site,coefficient,value"
    assert len(coefficients) == 1 + 3 * 5 * 2
    assert json.loads((run / "environment.json").read_text())["attempts"][0]["host"] == "laptop"
    assert states(outputs) == {"finished": 4, "diverged": 1}


def test_it_plots_and_reports(outputs: Path) -> None:
    overrides = ["name=d55bf84", f"outputs={outputs}", "model=resnet18"]
    assert main(["plot", *overrides, "formats=[html]"]) == 0
    assert main(["report", *overrides]) == 0
    assert (outputs / "d55bf84" / "figures" / "resnet18_lr0.001.html").exists()
    assert "1 diverged" in (outputs / "d55bf84" / "report.html").read_text()


def test_it_is_extended_by_an_activation(outputs: Path) -> None:
    assert train(outputs, "activation=mish", "seed=0", "plan=extend") == 0
    assert states(outputs) == {"finished": 4, "interrupted": 1, "diverged": 1}


def test_more_epochs_go_on_from_a_checkpoint_or_start_again_and_say_which(
    outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(outputs, "epochs=5", "plan=extend") == 0
    said = capsys.readouterr().out
    assert "more epochs for 1 run: resumed from checkpoints" in said
    assert "more epochs for 3 runs: trained from the start" in said
    sweep = sl.open_sweep(outputs / "d55bf84")
    assert sweep.runs["epochs_done"].tolist() == [5, 5, 5, 5, 1]
    kept = outputs / "d55bf84" / "runs/resnet18/relu/lr=0.001/seed=0" / "metrics.before-1.csv"
    assert len(kept.read_text().splitlines()) == 4


def test_a_weight_of_its_checkpoint_is_where_it_was(outputs: Path) -> None:
    state = torch.load(outputs / "d55bf84" / INTERRUPTED / "checkpoint.pt", weights_only=True)
    assert state["epochs_done"] == 2
    assert state["network"]["stem.act1.alpha"].item() == pytest.approx(0.10816431790590286)
