"""What one command, given again or changed, means for a plan that is frozen."""

import hashlib
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from rich.console import Console
from support import tiny
from sweeps import statuses, sweep

from senet_lab.build import check_run
from senet_lab.cli import main
from senet_lab.composition.command import compose_command
from senet_lab.config import as_plain
from senet_lab.errors import UsageError
from senet_lab.records.plan import config_hash
from senet_lab.records.run import State
from senet_lab.runs import planning
from senet_lab.runs.checkpoint import checkpoint_bytes
from senet_lab.session import train_command


def planned(folder: Path) -> list[str]:
    """The directories in the plan."""
    file = next(folder.rglob("plan.json"))
    return [Path(run["directory"]).name for run in json.loads(file.read_text())["runs"]]


def experiment(folder: Path, seeds: str, alpha: float = 0.1) -> list[str]:
    """An experiment with its own activation, in YAML that the test can edit."""
    for file, content in (
        (
            "activation/mine.yaml",
            {
                "_target_": "senet_lab.networks.activations.TAct",
                "name": "mine",
                "label": "Mine",
                "alpha": alpha,
                "beta": 0.0,
            },
        ),
        ("experiment/mine.yaml", {"hydra": {"mode": "MULTIRUN", "sweeper": {"params": {"seed": seeds}}}}),
    ):
        path = folder / "conf" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        package = "# @package _global_\n" if "experiment" in file else ""
        path.write_text(package + yaml.dump(content))
    arguments = [word for word in sweep(folder) if not word.startswith(("seed=", "activation=", "-m"))]
    return [*arguments, "--config-dir", str(folder / "conf"), "activation=mine", "experiment=mine"]


def test_duplicates_are_dropped_with_a_word(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(sweep(tmp_path, "seed=0,1,0,0")) == 0
    assert "2 duplicate runs dropped" in capfd.readouterr().out
    assert planned(tmp_path) == ["seed=0", "seed=1"]


def test_a_run_that_would_be_two_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    same_name = ["activation=tact,mtact", "activation.name=same"]
    assert main(sweep(tmp_path, *same_name)) == 2
    assert "two runs of this sweep would share" in capfd.readouterr().err
    assert not list(tmp_path.rglob("plan.json"))


def test_an_edited_yaml_is_told_and_does_not_reach_the_sweep(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(experiment(tmp_path, "0,1")) == 0
    frozen = next(tmp_path.rglob("plan.json")).read_text()
    shutil.rmtree(next(tmp_path.rglob("seed=1")))
    arguments = experiment(tmp_path, "0,1,2", alpha=0.4)
    assert main(arguments) == 0
    out = capfd.readouterr().out
    assert "activation.alpha is now 0.4, but the frozen plan keeps activation.alpha=0.1 in 2 runs" in out
    assert "the YAML now asks for 1 more run, the first runs/resnet18/mine/lr=0.001/seed=2" in out
    assert next(tmp_path.rglob("plan.json")).read_text() == frozen
    for config in tmp_path.rglob("config.yaml"):
        assert yaml.safe_load(config.read_text())["activation"]["alpha"] == 0.1
    assert main([*arguments, "plan=extend"]) == 0
    assert planned(tmp_path) == ["seed=0", "seed=1", "seed=2"]
    assert len(statuses(tmp_path)) == 3


def test_fewer_points_in_the_yaml_leave_the_sweep_whole(tmp_path: Path) -> None:
    main(experiment(tmp_path, "0,1"))
    shutil.rmtree(next(tmp_path.rglob("seed=1")))
    assert main(experiment(tmp_path, "0")) == 0
    assert len(statuses(tmp_path)) == 2


def test_edited_code_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    main(sweep(tmp_path))
    assert "the code has changed" not in capfd.readouterr().out
    monkeypatch.setattr("senet_lab.runs.planning.source_hash", lambda: "another")
    main(sweep(tmp_path))
    assert "the code has changed since this sweep was planned" in capfd.readouterr().out


def test_more_points_on_the_command_line_need_plan_extend(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    main(sweep(tmp_path))
    assert main(sweep(tmp_path, "seed=0,1,2")) == 2
    assert "1 of 3 runs, the first runs/resnet18/tact/lr=0.001/seed=2; plan=extend adds them" in (
        capfd.readouterr().err
    )
    assert main(sweep(tmp_path, "seed=1,2", "plan=extend")) == 0
    assert planned(tmp_path) == ["seed=0", "seed=1", "seed=2"]


def test_a_single_run_joins_by_itself(tmp_path: Path) -> None:
    main(sweep(tmp_path))
    single = [word for word in sweep(tmp_path, "seed=7") if word not in ("-m", "seed=0,1")]
    assert main(single) == 0
    assert planned(tmp_path) == ["seed=0", "seed=1", "seed=7"]


def test_another_config_in_the_same_directory_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    main(sweep(tmp_path))
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    assert main(sweep(tmp_path, "epochs=5")) == 2
    assert "was planned with epochs=2, not epochs=5" in capfd.readouterr().err
    assert main(sweep(tmp_path, "epochs=1", "plan=extend")) == 2
    assert main(sweep(tmp_path, "batch_size=16", "epochs=5", "plan=extend")) == 2
    assert before == {file: file.read_bytes() for file in before}


def test_how_a_sweep_runs_is_not_what_it_is(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    main(sweep(tmp_path))
    assert main(sweep(tmp_path, "hydra/launcher=joblib", "fail_fast=true", "checkpoint.keep=false")) == 0
    assert "checkpoint.keep is now False, but the frozen plan keeps" in capfd.readouterr().out


def test_plan_new_needs_runs_that_have_not_begun(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    main(sweep(tmp_path))
    assert main(sweep(tmp_path, "seed=5", "plan=new")) == 2
    assert "has begun" in capfd.readouterr().err
    shutil.rmtree(next(tmp_path.rglob("runs")))
    assert main(sweep(tmp_path, "seed=5", "plan=new")) == 0
    assert planned(tmp_path) == ["seed=5"]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda text: text[:-20], "plan.json is not JSON"),
        (lambda text: text.replace('"threads": 1', '"threads": "1"'), "Expected `int`, got `str`"),
        (
            lambda text: text.replace('"format": 2', '"format": 9'),
            "has plan format 9; this version",
        ),
        (lambda text: text.replace('"lr": 0.001', '"lr": 0.1'), "is not the one that was planned"),
        (lambda text: text.replace("runs/resnet18", "../../../resnet18"), "a run that cannot be one"),
    ],
)
def test_a_plan_that_is_not_ours_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], edit: Any, message: str
) -> None:
    main(sweep(tmp_path))
    file = next(tmp_path.rglob("plan.json"))
    file.write_text(edit(file.read_text()))
    assert main(sweep(tmp_path)) == 2
    assert message in capfd.readouterr().err


def test_the_space_is_said_beforehand(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = sweep(tmp_path)
    expected = checkpoint_bytes(
        *check_run(compose_command("train", arguments[2:], multirun=True).points[0].config)
    )
    assert main(arguments) == 0
    real = next(tmp_path.rglob("checkpoint.pt")).stat().st_size
    assert expected < real < expected + 60_000  # names and generators' states
    # Two that are kept, and one that is written beside the one before.
    assert f"checkpoints take up to {4 * expected / 1e6:,.1f} MB of" in capfd.readouterr().out


def test_a_terminal_shows_that_runs_are_being_planned(tmp_path: Path) -> None:
    command = compose_command("train", [*tiny(tmp_path), "dataset.path=missing.npz"])
    shown = {is_terminal: io.StringIO() for is_terminal in (True, False)}
    for is_terminal, file in shown.items():
        with pytest.raises(UsageError, match="missing"):
            train_command(command, Console(file=file, force_terminal=is_terminal))
    assert "planning the runs" in shown[True].getvalue()
    assert shown[False].getvalue() == ""


def test_a_finished_sweep_given_again_imports_nothing_heavy(tmp_path: Path) -> None:
    arguments = ["train", "experiment=six_plots", "dataset=digits", f"outputs={tmp_path}"]
    command = compose_command("train", arguments[1:])
    runs = [
        {
            "directory": point.directory, "hash": config_hash(plain), "threads": 1, "checkpoint_bytes": 0,
            "command": "experiment=six_plots dataset=digits", "overrides": [], "config": plain,
        }
        for point in command.points
        for plain in [as_plain(point.config)]
    ]  # fmt: skip
    folder = tmp_path / "six_plots"
    for run in runs:
        (folder / run["directory"]).mkdir(parents=True)
        (folder / run["directory"] / "metrics.csv").touch()
        digest = hashlib.sha256(b"").hexdigest()
        status = {"state": State.FINISHED, "epochs_done": 100, "metrics_sha256": digest}
        (folder / run["directory"] / "status.json").write_text(json.dumps(status))
    (folder / "plan.json").write_text(json.dumps({"format": 1, "source": "", "runs": runs}))
    script = (
        "import sys; from senet_lab.cli import main; code = main(sys.argv[1:]);"
        "sys.exit(code or sorted({'torch', 'pandas', 'scipy', 'sklearn', 'bokeh'} & sys.modules.keys()) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "90 of 90 runs are finished already" in done.stdout


SECONDS = {"published/densenet121": 460, "published/mobilenetv2": 226, "published/senet18": 236}
"""Seconds of each network's runs in scripts/quickstart.sh: docs/performance.md."""


def test_the_first_estimate_of_the_six_plots_is_right_within_a_factor_of_1_3() -> None:
    """The costly network comes first; the time of the others follows from their multiply-accumulates."""
    points = compose_command("train", [f"model={','.join(SECONDS)}"], multirun=True).points
    work = {run.config.model["name"]: run.epoch_macs for run in planning.freeze(points, "", 1)}
    assert all(macs % 1437 == 0 for macs in work.values()), "of all training images"
    densenet = "published/densenet121"
    estimate = SECONDS[densenet] / work[densenet] * sum(work.values())
    assert 1 / 1.3 < estimate / sum(SECONDS.values()) < 1.3


class ByValues(torch.nn.ReLU):
    """An activation that looks at values, which the meta device lacks."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) if x.max() > 0 else x


def test_a_network_that_cannot_be_counted_is_planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENET_LAB_PACKAGES", __name__)
    words = [*tiny(tmp_path), f"activation._target_={__name__}.ByValues"]
    (run,) = planning.freeze(compose_command("train", words).points, "", 1)
    assert run.epoch_macs == 0
