import pytest
from records_on_disk import run_config as plain_config

from senet_lab.composition.command import compose_command
from senet_lab.composition.groups import option_of, options
from senet_lab.config import run_config
from senet_lab.errors import UsageError
from senet_lab.records.plan import PlannedRun
from senet_lab.records.selection import select

RUNS = [
    PlannedRun(f"{activation} {lr} {seed}", "", "", [], 1, 0, plain_config("senet18", activation, lr, seed))
    for activation in ("relu", "mish", "tact")
    for lr in (0.001, 1e-5)
    for seed in (0, 1)
]


@pytest.mark.parametrize(
    ("selection", "chosen"),
    [
        ({}, [run.directory for run in RUNS]),
        ({"activation": ["mish"], "lr": ["1e-3"]}, ["mish 0.001 0", "mish 0.001 1"]),
        (
            {"activation": ["relu", "tact"], "lr": ["0.00001"], "seed": ["1"]},
            ["relu 1e-05 1", "tact 1e-05 1"],
        ),
        ({"activation.label": ["TAct"], "lr": ["0.001"]}, ["tact 0.001 0", "tact 0.001 1"]),
        (
            {"optimizer": ["adam"], "schedule": ["constant"], "seed": ["1"], "lr": ["1e-3"]},
            ["relu 0.001 1", "mish 0.001 1", "tact 0.001 1"],
        ),
        (
            {"optimizer.betas": ["[0.9, 0.999]"], "seed": ["1"], "activation": ["relu"]},
            ["relu 0.001 1", "relu 1e-05 1"],
        ),
        (
            {"figure": ["standard/senet18_lr0.001"], "seed": ["0"]},
            ["relu 0.001 0", "mish 0.001 0", "tact 0.001 0"],
        ),
    ],
)
def test_runs_are_chosen_by_the_values_of_their_configs(
    selection: dict[str, list[str]], chosen: list[str]
) -> None:
    assert run_config(RUNS[0].plain, "a run") == RUNS[0].config
    assert [run.directory for run in select(RUNS, selection)] == chosen


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        ({"activation": ["gelu"]}, "activation=gelu: no such run here; there is relu, mish, tact"),
        ({"optimizer": ["sgd", "lion"]}, "optimizer=sgd,lion: no such run here; there is adam"),
        (
            {"lr": ["0.001"], "figure": ["senet18_lr0.001"]},
            "figure=senet18_lr0.001: no such run here; there is standard/senet18_lr0.001",
        ),
        ({"lr": ["fast"]}, "lr=fast: no such run here; there is 0.001, 1e-05"),
        ({"colour": ["red"]}, "colour=red: no such run here; none has colour"),
    ],
)
def test_a_choice_of_nothing_is_refused_with_what_there_is(
    selection: dict[str, list[str]], message: str
) -> None:
    with pytest.raises(UsageError) as error:
        select(RUNS, selection)
    assert str(error.value) == message


@pytest.mark.parametrize(
    "name",
    [
        *options("optimizer"),
        "adamw optimizer.weight_decay=0.3",
        "sgd_nesterov optimizer.weight_decay=1e-4",
        "sgd optimizer.weight_decay=5e-4",
    ],
)
def test_the_option_of_a_node_without_a_name_is_found_by_its_values(name: str) -> None:
    (point,) = compose_command("train", f"optimizer={name}".split()).points
    assert option_of("optimizer", point.config.optimizer) == name.split()[0]
