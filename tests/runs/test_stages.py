"""The stages of a comparison: which runs follow from which records, and what cannot be asked for."""

import json
from collections import Counter
from dataclasses import replace
from math import log10
from pathlib import Path
from typing import Any

import pytest
from protocols import arguments_of, finish, requests

from senet_lab.cli import main
from senet_lab.composition.command import compose_command
from senet_lab.errors import UsageError
from senet_lab.records.plan import PlannedRun, read_plan
from senet_lab.records.protocol import Stage
from senet_lab.records.sweep import SweepDirectory
from senet_lab.records.trials import role_of
from senet_lab.runs.planning import freeze_first
from senet_lab.runs.stages import stages

BEST = {"ReLU": 0.1, "Mish": 0.1}


def error_of(run: PlannedRun, best: dict[str, float] = BEST) -> float | None:
    """An error that grows with the distance from the arm's best rate."""
    distance = abs(log10(run.plain["lr"] / best[role_of(run).arm]))
    return 0.11 + 0.09 * distance + 0.001 * (run.plain["seed"] % 3)


def by_stage(runs: list[PlannedRun]) -> Counter[tuple[str, str, float, int]]:
    """How often each stage, arm, rate and number of epochs comes."""
    return Counter(
        (role_of(run).stage.value, role_of(run).arm, run.plain["lr"], run.plain["epochs"]) for run in runs
    )


def plan_of(folder: Path):
    plan = read_plan(SweepDirectory(folder / "outputs" / "verdict"))
    assert plan is not None
    return plan


def test_tuning_then_confirmation_at_the_best_rate_with_fresh_seeds(tmp_path: Path) -> None:
    first, second = requests(arguments_of(tmp_path), error_of)
    assert by_stage(first.runs) == {("tune", arm, lr, 5): 2 for arm in BEST for lr in (0.01, 0.1, 1.0)}
    fresh = second.runs[len(first.runs) :]
    assert by_stage(fresh) == {("confirm", arm, 0.1, 5): 3 for arm in BEST}
    assert {run.plain["seed"] for run in fresh} == {10, 11, 12}
    assert fresh[0].directory == "runs/confirm/cnn3/relu/lr=0.1/seed=10"
    assert any("Mish takes lr=0.1" in note for note in second.notes)
    assert "to confirm" in first.notes[0]


def test_a_comparison_goes_on_where_its_records_stand(tmp_path: Path) -> None:
    arguments = arguments_of(tmp_path)
    command = compose_command("train", arguments)
    asked = stages(command, lambda *_: True)
    tuning = next(asked)
    assert next(asked, None) is None, "nothing follows while runs are not at their end"
    finish(tuning.plan, error_of)
    again = requests(arguments, error_of)
    assert [len(request.runs) for request in again] == [12, 18]
    assert [len(request.runs) for request in requests(arguments, error_of)] == [18]
    assert plan_of(tmp_path).runs[:12] == tuning.runs


def test_later_stages_have_the_threads_of_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(*given: Any) -> list[PlannedRun]:
        return [replace(run, threads=3) for run in freeze_first(*given)]

    monkeypatch.setattr("senet_lab.runs.stages.freeze_first", measured)
    *_, last = requests(arguments_of(tmp_path), error_of)
    assert {role_of(run).stage for run in last.runs} == {Stage.tune, Stage.confirm}
    assert {run.threads for run in last.runs} == {3}


def test_what_another_process_has_planned_is_not_planned_twice(tmp_path: Path) -> None:
    arguments = arguments_of(tmp_path)
    command = compose_command("train", arguments)
    one, other = (stages(command, lambda *_: True) for _ in range(2))
    finish(next(one).plan, error_of)
    next(other)
    assert len(next(one).runs) == 18
    assert next(other, None) is None or len(plan_of(tmp_path).runs) == 18


def test_the_frozen_plan_holds_declaration_rule_and_derived_configs(tmp_path: Path) -> None:
    requests(arguments_of(tmp_path, "dataset.split_seed=${seed}"), error_of)
    content = json.loads((tmp_path / "outputs" / "verdict" / "plan.json").read_text())
    assert content["protocol"]["declared"]["confirmation_seeds"] == [10, 11, 12]
    assert content["protocol"]["declared"]["widen"] is True
    assert "lowest mean validation error" in content["protocol"]["choice"]
    assert content["protocol"]["baseline"] == "ReLU"
    assert {run["plain"]["dataset"]["split_seed"] == run["plain"]["seed"] for run in content["runs"]} == {
        True
    }


@pytest.mark.parametrize(("arm", "lr", "beyond"), [("Mish", 1.0, [10.0]), ("ReLU", 0.01, [0.001])])
def test_a_best_rate_at_the_border_widens_the_space_once_for_all_arms(
    tmp_path: Path, arm: str, lr: float, beyond: list[float]
) -> None:
    best = {**BEST, arm: lr}
    first, wider, last = requests(arguments_of(tmp_path), lambda run: error_of(run, best))
    added = wider.runs[len(first.runs) :]
    assert by_stage(added) == {("tune", name, rate, 5): 2 for name in BEST for rate in beyond}
    assert {role_of(run).widened for run in added} == {True}
    assert "border of lr" in wider.notes[0]
    chosen = {role_of(run).arm: run.plain["lr"] for run in last.runs if role_of(run).stage is Stage.confirm}
    assert chosen == best


def test_a_best_rate_at_the_border_of_the_widened_space_is_reported(tmp_path: Path) -> None:
    requested = requests(arguments_of(tmp_path), lambda run: error_of(run, {**BEST, "Mish": 100.0}))
    assert len(requested) == 3
    assert any("Mish takes lr=10.0 at the border" in note for note in requested[-1].notes)
    closed = arguments_of(tmp_path, "name=closed", "protocol.widen=false")
    requested = requests(closed, lambda run: error_of(run, {**BEST, "Mish": 100.0}))
    assert len(requested) == 2
    assert any("Mish takes lr=1.0 at the border" in note for note in requested[-1].notes)


def test_halving_promotes_the_best_third_from_its_checkpoints(tmp_path: Path) -> None:
    halving = ["protocol.tuning=halving", "protocol.space.lr=[0.0001,1.0]", "protocol.trials=9", "epochs=9"]
    requested = requests(
        arguments_of(tmp_path, *halving), lambda run: error_of(run, {"ReLU": 0.01, "Mish": 0.1})
    )
    first, second, third, last = (by_stage(request.runs) for request in requested)
    assert {epochs for *_, epochs in first} == {1}
    assert second - first == {
        **{("tune", "ReLU", lr, 3): 2 for lr in (0.00316, 0.01, 0.0316)},
        **{("tune", "Mish", lr, 3): 2 for lr in (0.0316, 0.1, 0.316)},
    }
    assert third - second == {
        **{("tune", "ReLU", lr, 9): 2 for lr in (0.01, 0.0316)},
        **{("tune", "Mish", lr, 9): 2 for lr in (0.1, 0.316)},
    }
    assert last - third == {("confirm", "ReLU", 0.01, 9): 3, ("confirm", "Mish", 0.1, 9): 3}
    short = {run.directory: run for run in requested[0].runs}
    longer = [run for run in requested[1].runs if run.plain["epochs"] == 3]
    assert all(run.continues == [short[run.directory].hash] for run in longer)
    assert {run.plain["checkpoint"]["keep"] for run in longer} == {True}
    assert not any(run.plain["checkpoint"]["keep"] for run in requested[2].runs if run.plain["epochs"] == 9)
    assert "0.33 of" in requested[0].notes[0]


def test_halving_drops_the_checkpoints_of_those_that_stay_behind(tmp_path: Path) -> None:
    halving = ["protocol.tuning=halving", "epochs=3"]
    arguments = arguments_of(tmp_path, *halving)
    command = compose_command("train", arguments)
    asked = stages(command, lambda *_: True)
    plan = next(asked).plan
    finish(plan, error_of)
    for run in plan.runs:
        plan.sweep.run(run.directory).checkpoint_file.write_bytes(b"weights")
    next(asked)
    kept = {run.plain["lr"] for run in plan.runs if plan.sweep.run(run.directory).checkpoint_file.exists()}
    assert kept == {0.01, 0.1}


def test_halving_promotes_by_training_error_and_chooses_by_validation_error(tmp_path: Path) -> None:
    halving = ["protocol.tuning=halving", "epochs=3", "protocol.widen=false"]
    learning = {"ReLU": 0.01, "Mish": 1.0}
    *_, last = requests(
        arguments_of(tmp_path, *halving), error_of, train_error_of=lambda run: error_of(run, learning)
    )
    whole = {key[1:3] for key in by_stage(last.runs) if key[0] == "tune" and key[3] == 3}
    assert whole == {("ReLU", 0.01), ("ReLU", 0.1), ("Mish", 1.0), ("Mish", 0.1)}
    chosen = {key[1:3] for key in by_stage(last.runs) if key[0] == "confirm"}
    assert chosen == {("ReLU", 0.1), ("Mish", 0.1)}
    assert last.plan.protocol is not None
    assert "training error" in last.plan.protocol.promotion


def test_a_rate_at_which_runs_diverge_is_not_chosen(tmp_path: Path) -> None:
    diverging = requests(
        arguments_of(tmp_path), lambda run: None if run.plain["lr"] == 0.1 else error_of(run)
    )
    chosen = {run.plain["lr"] for run in diverging[-1].runs if role_of(run).stage is Stage.confirm}
    assert 0.1 not in chosen


def test_equal_rates_are_decided_by_the_lower_one(tmp_path: Path) -> None:
    (_, *_, last) = requests(arguments_of(tmp_path, "protocol.widen=false"), lambda _: 0.2)
    assert {run.plain["lr"] for run in last.runs if role_of(run).stage is Stage.confirm} == {0.01}


def test_no_confirmation_where_it_is_not_wanted_yet_and_then_with_more_seeds(tmp_path: Path) -> None:
    arguments = arguments_of(tmp_path)
    assert len(requests(arguments, error_of, confirms=lambda *_: False)) == 1
    more = "protocol.confirmation_seeds=[20,21,22,23]"
    with pytest.raises(UsageError, match="belongs to the command"):
        requests([*arguments, more], error_of)
    found = requests([*arguments, more, "plan=extend"], error_of)
    seeds = {run.plain["seed"] for run in found[-1].runs if role_of(run).stage is Stage.confirm}
    assert seeds == {20, 21, 22, 23}
    with pytest.raises(UsageError, match="the confirmation has begun"):
        requests([*arguments, "protocol.confirmation_seeds=[30,31]", "plan=extend"], error_of)


def test_arms_of_another_axis_and_several_blocks(tmp_path: Path) -> None:
    axes = ["protocol.arms=optimizer", "protocol.baseline=sgd", "optimizer=sgd,adam", "activation=relu,tact"]
    found = requests(arguments_of(tmp_path, *axes), lambda _: 0.1)
    protocol = found[0].plan.protocol
    assert protocol is not None
    assert protocol.arms == ["sgd", "adam"]
    assert protocol.blocks == [
        "Three-layer CNN on digits (activation=relu)",
        "Three-layer CNN on digits (activation=tact)",
    ]
    directories = [run.directory for run in found[0].runs]
    assert len({*directories}) == len(directories) == 2 * 2 * 3 * 2


MINE = """# @package _global_
defaults:
  - verdict
name: mine
protocol:
  space:
    optimizer.weight_decay: [0.0001, 0.01]
hydra:
  sweeper:
    params:
      activation: relu,tact
"""


def test_a_yaml_of_ones_own_inherits_the_template_and_tunes_a_second_value(tmp_path: Path) -> None:
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text(MINE)
    arguments = ["experiment=mine", "protocol.trials=3", f"outputs={tmp_path / 'outputs'}"]
    found = requests(arguments, lambda _: 0.1, config_dir=tmp_path / "conf")
    assert {role_of(run).arm for run in found[0].runs} == {"ReLU", "TAct"}
    assert len(found[0].runs) == 2 * 9 * 3
    assert found[0].runs[0].directory == (
        "runs/tune/cnn3/relu/lr=0.0001/optimizer.weight_decay=0.0001/seed=0"
    )
    assert {run.plain["optimizer"]["weight_decay"] for run in found[0].runs} == {0.0001, 0.001, 0.01}


BAD = [
    (["protocol.baseline=gelu"], "protocol.baseline=gelu is none of the arms: relu, mish"),
    (["~protocol.space.lr"], "protocol.space must be a mapping with lr: [low, high]"),
    (["protocol.space.lr=[0.1,0.01]"], "protocol.space.lr must be two numbers above 0, the lower one first"),
    (
        ["protocol.confirmation_seeds=[10]"],
        "protocol.confirmation_seeds must be 2 or more different integers",
    ),
    (["protocol.confirmation_seeds=[1,10]"], "[1] are in both"),
    (["dataset.validation=0"], "dataset.validation=0: a comparison tunes on validation images"),
    (["dataset.validation=3"], "would be a validation image"),
    (["activation=relu"], "protocol.arms=activation: sweep over it"),
    (["seed=0,1"], "varies seed, epochs, lr itself"),
    (["+protocol.space.nothing=[1,2]"], "protocol.space.nothing is no number"),
    (["protocol.tuning=halving", "schedule=step"], "sound only with a constant learning rate"),
    (["protocol.tuning=halving", "protocol.trials=9", "epochs=5"], "needs at least 9"),
    (
        ["protocol.tuning=halving", "+protocol.space.batch_size=[32,128]"],
        "protocol.space.batch_size: protocol.tuning=halving judges trials by their training error",
    ),
    (["protocol.smallest_difference=0"], "protocol.smallest_difference must be points"),
    (["protocol.trials=1"], "protocol.trials must be an integer of 2 or more"),
    (["model.label='a\tb'"], r"the label 'a\tb on digits' has characters that cannot be printed"),
]


@pytest.mark.parametrize(("overrides", "message"), BAD, ids=lambda value: str(value)[:40])
def test_bad_declarations_are_refused_in_one_line_before_anything_is_written(
    tmp_path: Path, overrides: list[str], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *arguments_of(tmp_path, *overrides)]) == 2
    error = capfd.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.rglob("plan.json"))


def test_a_name_is_of_a_sweep_or_of_a_comparison(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    requests(arguments_of(tmp_path), error_of)
    plain = ["train", "name=verdict", f"outputs={tmp_path / 'outputs'}", "model=cnn3"]
    assert main(plain) == 2
    assert "is of the comparison senet-lab train experiment=verdict" in capfd.readouterr().err
