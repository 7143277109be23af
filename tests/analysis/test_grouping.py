import copy
from pathlib import Path

import pytest
from records_on_disk import panels_of, run_config, write_plan, write_run

from senet_lab.analysis.runs import left_out, read_records
from senet_lab.composition.command import compose_command
from senet_lab.config import as_plain
from senet_lab.errors import UsageError
from senet_lab.records.sweep import SweepDirectory

ALL = {"name": "all", "title": "All", "line": "lr ${lr}", "style": None}


def sweep_of(sweep: Path, *configs: dict, order: int = 1) -> Path:
    for config in configs[::order]:
        write_run(sweep, config, [0.5, 0.6])
    return sweep


def labels(panel):
    return [line.label for line in panel.lines]


def test_a_figure_is_a_model_and_learning_rate_and_a_line_an_activation(tmp_path):
    configs = [
        run_config(model, activation, lr, seed)
        for model in ("published/senet18", "mobilenetv2")
        for lr in (0.001, 1e-05)
        for activation in ("tact", "relu")
        for seed in (1, 0)
    ]
    panels = panels_of(sweep_of(tmp_path, *configs))
    assert {panel.name: panel.title for panel in panels} == {
        "senet18_lr0.001": "SENet-18 with learning rate 0.001",
        "senet18_lr1e-05": "SENet-18 with learning rate 1e-05",
        "mobilenetv2_lr0.001": "MobileNetV2 with learning rate 0.001",
        "mobilenetv2_lr1e-05": "MobileNetV2 with learning rate 1e-05",
    }
    for panel in panels:
        assert labels(panel) == ["ReLU", "TAct"]
        assert [[run.config.seed for run in line.runs] for line in panel.lines] == [[0, 1], [0, 1]]


@pytest.mark.parametrize("order", [1, -1])
def test_colours_and_legend_order_do_not_depend_on_which_runs_there_are(tmp_path, order):
    names = ["mtact", "relu", "mish", "swish", "tact"]
    configs = [run_config(activation=name) for name in names]
    configs += [run_config(model="mobilenetv2", activation=name) for name in ("tact", "mish")]
    write_plan(tmp_path, configs[::order])
    first, second = sorted(
        panels_of(sweep_of(tmp_path, *configs)), key=lambda panel: panel.name != "senet18_lr0.001"
    )
    assert labels(first) == ["ReLU", "Swish", "Mish", "TAct", "mTAct"]
    assert labels(second) == ["Mish", "TAct"]
    colours = {line.label: line.color for line in first.lines}
    assert colours["ReLU"] == "#000000"
    assert colours["mTAct"] == "#CC79A7"
    assert {line.label: line.color for line in second.lines}.items() <= colours.items()


def test_lines_without_a_style_follow_the_plan(tmp_path):
    configs = [run_config(lr=lr) for lr in (0.1, 0.02, 0.003)]
    write_plan(tmp_path, configs)
    (panel,) = panels_of(sweep_of(tmp_path, *configs), **ALL)
    assert labels(panel) == ["lr 0.1", "lr 0.02", "lr 0.003"]


def test_runs_of_one_line_that_differ_in_more_than_the_seed_get_lines_that_name_the_axis(tmp_path):
    configs = [run_config(activation=name, seed=seed) for name in ("relu", "tact") for seed in (0, 1)]
    other = copy.deepcopy(configs[0])
    other["optimizer"]["betas"], other["batch_size"] = [0.8, 0.999], 32
    write_run(tmp_path, other, [0.5], extra="batch_size=32")
    (panel,) = panels_of(sweep_of(tmp_path, *configs))
    assert labels(panel) == [
        "ReLU, optimizer.betas=[0.8, 0.999], batch_size=32",
        "ReLU, optimizer.betas=[0.9, 0.999], batch_size=128",
        "TAct, optimizer.betas=[0.9, 0.999], batch_size=128",
    ]
    assert [len(line.runs) for line in panel.lines] == [1, 2, 2]


def test_every_axis_is_named_in_the_legend_by_its_option_or_value(tmp_path):
    axes = ["optimizer=sgd,sgd_nesterov", "optimizer.weight_decay=1e-4,1e-3", "batch_size=32,64"]
    points = compose_command("train", ["model=cnn3", *axes], multirun=True).points
    for point in points:
        config = as_plain(point.config)
        write_run(tmp_path, config, [0.5], extra="/".join(point.directory.split("/")[4:-1]))
    (panel,) = panels_of(tmp_path)
    assert sorted(labels(panel)) == sorted(
        f"ReLU, optimizer={name}, optimizer.weight_decay={decay}, batch_size={size}"
        for name in ("sgd", "sgd_nesterov")
        for decay in (0.0001, 0.001)
        for size in (32, 64)
    )


def test_the_axis_of_a_node_is_its_name_or_its_class(tmp_path):
    one, two, three = run_config(), run_config(activation="tact"), run_config()
    two["activation"]["alpha"] = 0.5
    three["optimizer"] = {"_target_": "torch.optim.SGD", "momentum": 0.9}
    write_run(tmp_path, three, [0.5], extra="optimizer=sgd")
    (panel,) = panels_of(sweep_of(tmp_path, one, two), line="all", style=None)
    assert sorted(labels(panel)) == [
        "all, activation=relu, optimizer=adam",
        "all, activation=relu, optimizer=sgd",
        "all, activation=tact, optimizer=adam",
    ]


def test_other_figures_keep_their_labels(tmp_path):
    one, two = run_config(), run_config()
    two["batch_size"] = 32
    write_run(tmp_path, two, [0.5], extra="batch_size=32")
    first, second = panels_of(sweep_of(tmp_path, one, run_config("mobilenetv2")))
    assert labels(first) == ["ReLU"]
    assert labels(second) == ["ReLU, batch_size=32", "ReLU, batch_size=128"]


def test_values_that_no_number_depends_on_may_differ(tmp_path):
    one, two = run_config(seed=0), run_config(seed=1)
    one["checkpoint"], two["checkpoint"] = {"every": 1}, {"every": 5}
    (panel,) = panels_of(sweep_of(tmp_path, one, two))
    assert len(panel.lines[0].runs) == 2


def test_a_record_that_lacks_a_later_field_has_its_default(tmp_path):
    older, newer = run_config(seed=0), run_config(seed=1)
    older["trainer"], newer["trainer"] = {"device": "cpu"}, {"device": "cpu", "compile": "auto"}
    (panel,) = panels_of(sweep_of(tmp_path / "default", older, newer))
    assert len(panel.lines[0].runs) == 2
    newer["trainer"]["compile"] = True
    (panel,) = panels_of(sweep_of(tmp_path / "other", older, newer))
    assert labels(panel) == ["ReLU, trainer.compile=False", "ReLU, trainer.compile=True"]


def test_the_same_run_twice_is_refused(tmp_path):
    config = run_config()
    write_run(tmp_path, config, [0.5])
    write_run(tmp_path, copy.deepcopy(config), [0.5], extra="copy=1")
    with pytest.raises(UsageError, match="the same run"):
        panels_of(tmp_path)


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
        panels_of(sweep, **templates)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("${model.name}: ${model.label}", "senet18: SENet-18"),
        ("${optimizer.betas[1]} of ${optimizer[_target_]}", "0.999 of torch.optim.Adam"),
        ("${activation.style.order}, ${dataset}", "0, {'label': 'Digits', 'name': 'digits'}"),
        ("${trainer.device} ${init}", "auto default"),
        ("${stem:${model.name}} at ${lr}", "senet18 at 0.001"),
    ],
)
def test_a_template_reads_any_value_of_a_run(tmp_path, title, expected):
    (panel,) = panels_of(sweep_of(tmp_path, run_config()), title=title)
    assert panel.title == expected


def test_planned_runs_without_a_record_are_missing_seeds(tmp_path):
    write_plan(
        tmp_path, [run_config(activation=name, seed=seed) for name in ("relu", "tact") for seed in (0, 1)]
    )
    write_run(tmp_path, run_config(seed=0), [0.5])
    write_run(tmp_path, run_config(seed=1), [], state="planned")
    (panel,) = panels_of(tmp_path)
    assert {line.label: line.missing_seeds for line in panel.lines} == {"ReLU": (1,), "TAct": (0, 1)}


def test_a_seed_that_another_line_has_is_missing_without_any_plan(tmp_path):
    sweep = sweep_of(tmp_path, run_config(seed=0), run_config(seed=1), run_config(activation="tact", seed=0))
    (panel,) = panels_of(sweep)
    assert {line.label: line.missing_seeds for line in panel.lines} == {"ReLU": (), "TAct": (1,)}


@pytest.mark.parametrize(
    ("models", "data"),
    [
        (["published/senet18"], "Digits, published network"),
        (["senet18", "published/senet18"], "Digits, published and standard network"),
        (["cnn3"], "Digits"),
    ],
)
def test_a_panel_says_which_data_and_which_form_of_the_network(tmp_path, models, data):
    configs = [run_config(model) for model in models]
    (panel,) = panels_of(
        sweep_of(tmp_path, *configs), name="all", title="All", line="${model.name}", style=None
    )
    assert panel.data == data


def test_a_sweep_without_runs_and_a_torn_record_are_named(tmp_path):
    with pytest.raises(UsageError, match="holds no runs"):
        read_records(SweepDirectory(tmp_path / "nothing"))
    path = write_run(tmp_path, run_config(), [0.5, 0.6], "interrupted", epochs=[3, 3])
    (status,) = left_out(read_records(SweepDirectory(tmp_path))).values()
    assert status.error == f"{path}/metrics.csv has epoch 3 twice, where each belongs once"
    path = write_run(tmp_path / "other", run_config(), [0.5, 7.5], "interrupted")
    (status,) = left_out(read_records(SweepDirectory(tmp_path / "other"))).values()
    assert status.error == f"{path}/metrics.csv, line 3: test_top1 of epoch 1 is 7.5, no fraction"
