import pytest
from records_on_disk import run_config as plain_config

from senet_lab.composition.command import Choice, compose_command
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


def choices(selection: dict[str, list[str]]) -> dict[str, Choice]:
    return {key: Choice(values) for key, values in selection.items()}


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
    assert [run.directory for run in select(RUNS, choices(selection))] == chosen


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        ({"activation": ["gelu"]}, "activation=gelu: no such run here; there is relu, mish, tact"),
        (
            {"activation": ["relu", "mush", "mush"]},
            "activation=mush: no such run here; did you mean mish? there is relu, mish, tact",
        ),
        ({"optimizer": ["sgd", "lion"]}, "optimizer=sgd,lion: no such run here; there is adam"),
        (
            {"lr": ["0.001"], "figure": ["senet18_lr0.001"]},
            "figure=senet18_lr0.001: no such run here; there is standard/senet18_lr0.001",
        ),
        ({"lr": ["fast"]}, "lr=fast: no such run here; there is 0.001, 1e-05"),
        ({"lr": ["0.001", "2"], "seed": ["0"]}, "lr=2: no such run here; there is 0.001, 1e-05"),
        ({"seed": ["0", "1", "2", "3"]}, "seed=2,3: no such run here; there is 0, 1"),
        (
            {"seed": [str(seed) for seed in range(1000)]},
            f"seed={','.join(map(str, range(2, 22)))},… (978 more): no such run here; there is 0, 1",
        ),
        ({"colour": ["red"]}, "colour=red: no such run here; none has colour"),
        (
            {"optimizer.momentum": ["0.9"]},
            "optimizer.momentum=0.9: no such run here; none has optimizer.momentum",
        ),
    ],
)
def test_a_value_that_no_run_has_is_refused_with_what_there_is(
    selection: dict[str, list[str]], message: str
) -> None:
    with pytest.raises(UsageError) as error:
        select(RUNS, choices(selection))
    assert str(error.value) == message


def test_values_that_no_run_has_together_are_refused_with_what_the_others_leave() -> None:
    runs = [run for run in RUNS if (run.config.lr < 0.001) == (run.config.activation["name"] == "mish")]
    with pytest.raises(UsageError) as error:
        select(runs, choices({"activation": ["mish"], "lr": ["0.001"]}))
    assert str(error.value) == "lr=0.001: no such run here; there is 1e-05"
    assert len(select(runs, choices({"activation": ["mish", "relu"], "lr": ["0.001"]}))) == 2


def chosen(runs: list[PlannedRun], *overrides: str) -> set[str]:
    """The activations that a command line selects."""
    selection = compose_command("plot", overrides).selection
    return {run.config.activation["name"] for run in select(runs, selection)}


@pytest.mark.parametrize(
    ("override", "activations"),
    [
        ("activation=glob(*)", {"relu", "mish", "tact"}),
        ("activation=glob([m*,t*],exclude=mt*)", {"mish", "tact"}),
        ("activation=relu,relu", {"relu"}),
        ("activation='relu'", {"relu"}),
        ("activation='relu',\"mish\"", {"relu", "mish"}),
        ("++activation.label=TAct", {"tact"}),
        ("seed=range(0,2)", {"relu", "mish", "tact"}),
    ],
)
def test_a_command_line_selects_in_hydras_grammar(override: str, activations: set[str]) -> None:
    assert chosen(RUNS, override) == activations


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("activation=glob(g*)", "activation=gelu,gelu_tanh: no such run here; there is relu, mish, tact"),
        ("activation=relu,'mush'", "activation=mush: no such run here; did you mean mish"),
        ("seed=range(0,3)", "seed=2: no such run here; there is 0, 1"),
        ("++lr=0.5", "lr=0.5: no such run here; there is 0.001, 1e-05"),
        ("+optimizer.momentum=0.9", "optimizer.momentum=0.9: no such run here; none has optimizer.momentum"),
        ("~lr", "~lr: a value taken away selects no run; write lr=value"),
        (
            "~optimizer.betas",
            "~optimizer.betas: a value taken away selects no run; write optimizer.betas=value",
        ),
    ],
)
def test_no_word_of_a_selection_is_passed_over(override: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        chosen(RUNS, override)
    assert str(error.value).startswith(message)


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
