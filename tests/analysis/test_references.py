"""Papers' results beside ours, and errors against multiply-accumulates."""

from pathlib import Path

import pandas as pd
import pytest
from records_on_disk import run_config, write_run

from senet_lab.cli import main
from senet_lab.compose import compose_command
from senet_lab.config import as_plain

ENTRY = "{line:ReLU,top1_error:22.5,top5_error:6.25,source:paper}"


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    for activation in ("relu", "mish"):
        for seed in range(2):
            write_run(tmp_path / "sweep", run_config(activation=activation, seed=seed), [0.5, 0.75])
    return tmp_path / "sweep"


def plot(sweep: Path, *overrides: str) -> int:
    return main(["plot", "name=sweep", f"outputs={sweep.parent}", "formats=[html]", *overrides])


def test_references_stand_beside_the_lines_they_name(sweep: Path) -> None:
    assert plot(sweep, f"references=[{ENTRY}]") == 0
    final = pd.read_csv(sweep / "figures" / "final.csv").set_index("line")
    assert final.loc["ReLU", ["reference_top1", "reference_top5"]].tolist() == [0.225, 0.0625]
    assert final.loc["ReLU", "reference_source"] == "paper"
    assert final.loc["Mish", ["reference_top1", "reference_top5", "reference_source"]].isna().all()
    assert final["top5_mean"].tolist() == pytest.approx([0.1, 0.1])  # the records' test_top5 is 0.9


def test_a_reference_can_be_for_one_figure(sweep: Path) -> None:
    other = ENTRY.replace("{", "{figure:elsewhere,")
    assert plot(sweep, f"references=[{ENTRY},{other}]") == 0
    assert pd.read_csv(sweep / "figures" / "final.csv")["reference_top1"].dropna().tolist() == [0.225]


def test_two_references_for_a_line_are_refused(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert plot(sweep, f"references=[{ENTRY},{ENTRY}]") == 2
    assert "2 are for the line ReLU" in capsys.readouterr().err


def test_errors_against_multiply_accumulates(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    for width, label in ((0.5, "half"), (1.0, "whole")):
        overrides = ["model=resnet18", f"model.width={width}", f"model.label={label}", f"model.name={label}"]
        config = as_plain(compose_command("train", overrides).points[0].config)
        write_run(sweep, config, [0.5])
    templates = ["figures.line=${model.label}", "figures.name=all", "figures.title=All", "figures.style=null"]
    assert plot(sweep, "figures.macs=true", *templates) == 0
    table = pd.read_csv(sweep / "figures" / "macs.csv").set_index("line")
    # Convolutions cost the square of the width, but for the first and the last layer.
    assert table.loc["whole", "macs"] / table.loc["half", "macs"] == pytest.approx(4, rel=0.05)
    assert (sweep / "figures" / "all_macs.html").exists()
