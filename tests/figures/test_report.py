"""What the report says, read as text; how it looks and behaves is tested in a browser."""

import json
import re
from html import unescape

import pytest
from records_on_disk import run_config, write_plan, write_run

from senet_lab.commands.report import report
from senet_lab.composition.command import compose_command
from senet_lab.errors import UsageError
from senet_lab.records.run import Environment, Git, RunDirectory


def text_of(outputs, *overrides, code=0):
    """The page's text without styles, scripts and markup; `report` must exit with `code`."""
    arguments = ["name=sweep", f"outputs={outputs}", *overrides]
    assert report(compose_command("report", arguments)) == code
    page = (outputs / "sweep" / "report.html").read_text("utf-8")
    bare = re.sub(r"<(style|script)\b.*?</\1>", "", page, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", bare)).split())


def test_statistics_pairs_and_target(tmp_path):
    for name, shift in (("relu", 0.0), ("mish", 0.1)):
        for seed in range(3):
            write_run(tmp_path / "sweep", run_config(activation=name, seed=seed), [0.5 + shift + seed / 50])
    text = text_of(tmp_path, "target_error=0.4")
    assert "ReLU 3 0 0.4800 0.0200 0.0115 0.4303 0.5297 0 0.4800 0.4000 –" in text
    assert "Mish 3 0 0.3800 0.0200 0.0115 0.3303 0.4297 0 0.3800 0.4000 0" in text
    assert "ReLU Mish 0 3" in text
    assert "Power with n = 3: " in text
    assert "Comparison with the published runs" not in text


def test_published_runs_are_compared(tmp_path):
    write_run(tmp_path / "sweep", run_config("published/mobilenetv2", dataset="cifar10"), [0.45])
    text = text_of(tmp_path, "published=six_plots")
    assert "Comparison with the published runs" in text
    assert "1 of 1 compared epoch is near the published ones." in text
    assert "Dotted: published mean and band of 3 runs." in text


def test_papers_results_that_an_experiment_names(tmp_path):
    write_run(tmp_path / "sweep", run_config(), [0.5])
    own = tmp_path / "own.yaml"
    own.write_text(
        "source: Table 1\nwhere: {dataset.name: digits}\nends:\n- {line: ReLU, test_error: 0.235}\n"
    )
    text = text_of(tmp_path, f"published={own}")
    assert "published source" in text
    assert "0.2350 Table 1" in text


def test_each_metric_has_its_part(tmp_path):
    write_run(tmp_path / "sweep", run_config(), [0.5])
    text = text_of(tmp_path, "figures.metric=[test_error,train_loss]")
    assert "SENet-18 with learning rate 0.001: training loss" in text
    assert "mean training loss" in text


def test_commands_plan_and_versions(tmp_path):
    sweep = tmp_path / "sweep"
    write_plan(sweep, [run_config()])
    plan = json.loads((sweep / "plan.json").read_text())
    plan["runs"][0]["command"] = "model=senet18 lr=0.001"
    plan["source"] = "0123456789abcdef"
    (sweep / "plan.json").write_text(json.dumps(plan))
    path = write_run(sweep, run_config(), [0.5])
    told = {"senet_lab": "0", "python": "3.11", "torch": "2.15.0", "device": "a processor", "host": "here"}
    kind = {"device_type": "cpu", "precision": "float32", "threads": 1, "platform": "Linux"}
    RunDirectory(path).add_environment(Environment(git=Git("f00", dirty=False), **told, **kind))
    text = text_of(tmp_path)
    assert "senet-lab train model=senet18 lr=0.001 name=sweep" in text
    assert f"senet-lab report name=sweep outputs={tmp_path}" in text
    assert "1 run of senet18, planned by code with the hash 0123456789ab." in text
    assert "1 torch 2.15.0" in text
    assert "1 git commit f00" in text


def test_a_sweep_without_an_epoch(tmp_path):
    write_plan(tmp_path / "sweep", [run_config(seed=seed) for seed in range(2)])
    text = text_of(tmp_path)
    assert "No run has finished an epoch yet." in text
    assert "2 runs: 2 missing." in text


def test_a_run_whose_process_is_dead_is_called_interrupted(tmp_path):
    write_run(tmp_path / "sweep", run_config(), [0.5], state="running")
    text = text_of(tmp_path)
    assert "1 run: 1 interrupted." in text
    assert "Interrupted: ReLU seed 0 after epoch 0." in text
    assert "ended without recording why" in text


def test_a_damaged_table_of_metrics_is_told(tmp_path):
    write_run(tmp_path / "sweep", run_config(), [0.5])
    damaged = write_run(tmp_path / "sweep", run_config(seed=1), [0.5])
    (damaged / "metrics.csv").write_text("what\n1\n")
    text = text_of(tmp_path, code=1)
    assert "2 runs: 1 damaged, 1 finished." in text
    assert "lacks the column" in text


def test_a_damaged_environment_is_told(tmp_path):
    path = write_run(tmp_path / "sweep", run_config(), [0.5])
    (path / "environment.json").write_text('{"torch": ')
    assert "1 unreadable" in text_of(tmp_path)


def test_nothing_but_damage_still_makes_a_report(tmp_path):
    path = write_run(tmp_path / "sweep", run_config(), [0.5])
    (path / "status.json").write_text("{")
    assert "1 run: 1 unreadable." in text_of(tmp_path, code=1)


def test_bad_input(tmp_path):
    with pytest.raises(UsageError, match="holds no runs"):
        text_of(tmp_path)
    with pytest.raises(UsageError, match="target_error"):
        text_of(tmp_path, "target_error=2")
