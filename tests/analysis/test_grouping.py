import copy
from pathlib import Path

import pytest
from records_on_disk import TEMPLATES, run_config, write_plan, write_run

from senet_lab.analysis.grouping import group, read_runs
from senet_lab.errors import UsageError
from senet_lab.records.sweep import SweepDirectory


def sweep_of(sweep: Path, *configs: dict, order: int = 1) -> Path:
    for config in configs[::order]:
        write_run(sweep, config, [0.5, 0.6])
    return sweep


def test_a_figure_is_a_model_and_learning_rate_and_a_line_an_activation(tmp_path):
    configs = [
        run_config(model, activation, lr, seed)
        for model in ("published/senet18", "mobilenetv2")
        for lr in (0.001, 1e-05)
        for activation in ("tact", "relu")
        for seed in (1, 0)
    ]
    figures = group(read_runs(SweepDirectory(sweep_of(tmp_path, *configs))), TEMPLATES)
    assert {figure.name: figure.title for figure in figures} == {
        "senet18_lr0.001": "SENet-18 with learning rate 0.001",
        "senet18_lr1e-05": "SENet-18 with learning rate 1e-05",
        "mobilenetv2_lr0.001": "MobileNetV2 with learning rate 0.001",
        "mobilenetv2_lr1e-05": "MobileNetV2 with learning rate 1e-05",
    }
    for figure in figures:
        assert [line.label for line in figure.lines] == ["ReLU", "TAct"]
        assert [[run.config.seed for run in line.runs] for line in figure.lines] == [[0, 1], [0, 1]]


@pytest.mark.parametrize("order", [1, -1])
def test_colours_and_legend_order_do_not_depend_on_which_runs_there_are(tmp_path, order):
    names = ["mtact", "relu", "mish", "swish", "tact"]
    configs = [run_config(activation=name) for name in names]
    configs += [run_config(model="mobilenetv2", activation=name) for name in ("tact", "mish")]
    write_plan(tmp_path, configs[::order])
    first, second = sorted(
        group(read_runs(SweepDirectory(sweep_of(tmp_path, *configs))), TEMPLATES),
        key=lambda figure: figure.name != "senet18_lr0.001",
    )
    assert [line.label for line in first.lines] == ["ReLU", "Swish", "Mish", "TAct", "mTAct"]
    assert [line.label for line in second.lines] == ["Mish", "TAct"]
    colours = {line.label: line.style.color for line in first.lines}
    assert colours["ReLU"] == "#000000"
    assert colours["mTAct"] == "#CC79A7"
    assert {line.label: line.style.color for line in second.lines}.items() <= colours.items()


def test_lines_without_a_style_follow_the_plan_and_differ_in_look(tmp_path):
    configs = []
    for lr in (0.1, 0.02, 0.003):
        configs.append(run_config(lr=lr))
    write_plan(tmp_path, configs)
    templates = TEMPLATES | {"name": "all", "title": "All", "line": "lr ${lr}", "style": None}
    (figure,) = group(read_runs(SweepDirectory(sweep_of(tmp_path, *configs))), templates)
    assert [line.label for line in figure.lines] == ["lr 0.1", "lr 0.02", "lr 0.003"]
    assert len({line.style for line in figure.lines}) == 3


def test_many_unstyled_lines_stay_distinct(tmp_path):
    configs = [run_config(lr=0.001 * (1 + step)) for step in range(20)]
    templates = TEMPLATES | {"name": "all", "title": "All", "line": "lr ${lr}", "style": None}
    (figure,) = group(read_runs(SweepDirectory(sweep_of(tmp_path, *configs))), templates)
    assert len({line.style for line in figure.lines}) == 20


def test_runs_of_one_line_that_differ_in_more_than_the_seed_are_named_with_the_key(tmp_path):
    one, two = run_config(seed=0), run_config(seed=1)
    two["optimizer"]["betas"] = [0.8, 0.999]
    with pytest.raises(UsageError) as error:
        group(read_runs(SweepDirectory(sweep_of(tmp_path, one, two))), TEMPLATES)
    message = str(error.value)
    assert "runs/senet18/relu/lr=0.001/seed=0" in message
    assert "runs/senet18/relu/lr=0.001/seed=1" in message
    assert "optimizer.betas" in message
    assert "figures.line" in message
    assert "\n" not in message


def test_a_difference_is_told_by_its_label_where_it_has_one(tmp_path):
    one, two = run_config(), run_config(activation="tact")
    two["activation"]["_target_"] = "another.Activation"
    with pytest.raises(UsageError, match=r"differ in activation\.(name|label):"):
        group(read_runs(SweepDirectory(sweep_of(tmp_path, one, two))), TEMPLATES | {"line": "all"})


def test_what_no_number_depends_on_may_differ(tmp_path):
    one, two = run_config(seed=0), run_config(seed=1)
    one["checkpoint"], two["checkpoint"] = {"every": 1}, {"every": 5}
    (figure,) = group(read_runs(SweepDirectory(sweep_of(tmp_path, one, two))), TEMPLATES)
    assert len(figure.lines[0].runs) == 2


def test_a_record_that_lacks_a_later_field_has_its_default(tmp_path):
    older, newer = run_config(seed=0), run_config(seed=1)
    older["trainer"], newer["trainer"] = {"device": "cpu"}, {"device": "cpu", "compile": "auto"}
    (figure,) = group(read_runs(SweepDirectory(sweep_of(tmp_path / "default", older, newer))), TEMPLATES)
    assert len(figure.lines[0].runs) == 2
    newer["trainer"]["compile"] = True
    with pytest.raises(UsageError, match=r"differ in trainer\.compile:"):
        group(read_runs(SweepDirectory(sweep_of(tmp_path / "other", older, newer))), TEMPLATES)


def test_the_same_run_twice_is_refused(tmp_path):
    config = run_config()
    write_run(tmp_path, config, [0.5])
    write_run(tmp_path, copy.deepcopy(config), [0.5], extra="copy=1")
    with pytest.raises(UsageError, match="the same run"):
        group(read_runs(SweepDirectory(tmp_path)), TEMPLATES)


@pytest.mark.parametrize(
    ("templates", "message"),
    [
        ({"line": "${no.such}"}, "cannot fill in a template"),
        ({"name": "${activation.name}/x"}, r"figures\.name"),
        ({"name": ".."}, r"figures\.name"),
        ({"name": "all"}, "two titles"),
        ({"style": {"order": 0, "color": "red"}}, "a style is"),
        ({"style": "${activation.label}"}, "a style is"),
        ({"style": {"order": 0, "color": "#112233"}}, "share the colour"),
    ],
)
def test_templates_that_cannot_work(tmp_path, templates, message):
    sweep = sweep_of(tmp_path, run_config(), run_config(activation="tact"), run_config("mobilenetv2"))
    with pytest.raises(UsageError, match=message) as error:
        group(read_runs(SweepDirectory(sweep)), TEMPLATES | templates)
    assert "\n" not in str(error.value)


def test_planned_runs_without_a_record_are_missing_seeds(tmp_path):
    write_plan(
        tmp_path, [run_config(activation=name, seed=seed) for name in ("relu", "tact") for seed in (0, 1)]
    )
    write_run(tmp_path, run_config(seed=0), [0.5])
    write_run(tmp_path, run_config(seed=1), [], state="planned")
    (figure,) = group(read_runs(SweepDirectory(tmp_path)), TEMPLATES)
    assert {line.label: line.missing_seeds for line in figure.lines} == {"ReLU": (1,), "TAct": (0, 1)}


def test_a_seed_that_another_line_has_is_missing_without_any_plan(tmp_path):
    sweep = sweep_of(tmp_path, run_config(seed=0), run_config(seed=1), run_config(activation="tact", seed=0))
    (figure,) = group(read_runs(SweepDirectory(sweep)), TEMPLATES)
    assert {line.label: line.missing_seeds for line in figure.lines} == {"ReLU": (), "TAct": (1,)}


def test_a_sweep_without_runs_and_a_torn_record_are_named(tmp_path):
    with pytest.raises(UsageError, match="holds no runs"):
        read_runs(SweepDirectory(tmp_path / "nothing"))
    path = write_run(tmp_path, run_config(), [0.5, 0.6], epochs=[3, 3])
    with pytest.raises(UsageError, match=f"{path}/metrics.csv has epoch 3 twice"):
        read_runs(SweepDirectory(tmp_path))
