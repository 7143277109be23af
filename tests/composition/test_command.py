"""Composing a sweep at once gives what Hydra composes point by point."""

import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from senet_lab.composition.command import RUN_KEYS, Point, compose_command, config_folder, options
from senet_lab.config import as_plain, run_config
from senet_lab.errors import UsageError

SWEEPS = {
    "groups that stand alone": ["activation=relu,tact", "optimizer=adam,sgd", "dataset=digits,cifar10"],
    "groups with defaults": ["model=resnet18,senet18", "se=none,standard,bump", "activation=tact,mish"],
    "a group and its key": ["activation=tact,mtact", "activation.alpha=0.1,[0.1,0.2]", "seed=0,1"],
    "a key before its group": ["activation.alpha=0.1,0.2", "activation=tact,mtact"],
    "a key of an option that stays": ["activation=tact,mtact", "activation.alpha=0.3"],
    "a new key of an option": ["activation=tact,mtact", "+activation.extra=1,2"],
    "keys that others refer to": ["model=resnet18", "scaling.phi=0,1", "scaling.alpha=1.1,1.2", "seed=0,1"],
    "a node that others refer to": ["model=resnet18", "scaling={phi:0},{phi:1,alpha:1.3}", "lr=1,0.1"],
    "a reference to the parent": ["model=timm", "model.name=resnet10t,resnet14t", "lr=1e-3"],
    "lists": ["se=standard", "se.stages=[2],[3,4]", "model=resnet18", "model.widths=[8,8,8,8],[16,16,16,16]"],
    "enums, booleans and texts": ["init=he,default", "trainer.compile=false,true", "model.label=a,'b c',3"],
    "integers as floats": ["lr=1,2", "checkpoint.min_seconds=3,4.5"],
    "a value that refers": ["model.label=${activation.label},x", "activation=relu,mish"],
    "values alone": ["lr=0.1,1", "activation.label=${model.name},a,null", "dataset.validation=100,0.1"],
    "package overrides": ["figure=senet18_lr0.001,densenet121_lr0.1", "activation=relu,tact", "lr=0.5"],
}


def by_hydra(point: Point, folder: Path | None = None) -> dict[str, Any]:
    """The config of a point as Hydra alone composes it."""
    search = [f"hydra.searchpath=['file://{folder}']"] if folder else []
    with initialize_config_dir(config_dir=str(config_folder()), version_base="1.3"):
        node = compose("train", [*search, *point.overrides])
    plain = OmegaConf.to_container(OmegaConf.masked_copy(node, RUN_KEYS), resolve=True, enum_to_str=True)
    return as_plain(run_config(plain, "Hydra's config"))  # type: ignore[arg-type]


def require_equal(points: Sequence[Point], folder: Path | None = None) -> None:
    """The first, the last and two other points are Hydra's, value by value and type by type."""
    others = random.Random(0).sample(points, min(2, len(points)))
    for point in {id(point): point for point in [points[0], points[-1], *others]}.values():
        assert repr(as_plain(point.config)) == repr(by_hydra(point, folder)), point.overrides


@pytest.mark.parametrize("name", options("experiment"))
def test_an_experiment_composes_as_hydra_composes_it(name: str) -> None:
    require_equal(compose_command("train", [f"experiment={name}"]).points)


@pytest.mark.parametrize("name", SWEEPS)
def test_a_sweep_composes_as_hydra_composes_it(name: str) -> None:
    require_equal(compose_command("train", SWEEPS[name], multirun=True).points)


def test_what_an_experiment_adds_to_a_swept_group_stays(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/mine.yaml").write_text(
        "# @package _global_\nactivation: {label: ours, extra: 1}\n"
        "hydra: {mode: MULTIRUN, sweeper: {params: {activation: 'relu,tact'}}}\n"
    )
    points = compose_command("train", ["experiment=mine"], config_dir=tmp_path).points
    assert [point.config.activation["label"] for point in points] == ["ours", "ours"]
    assert [point.config.activation["extra"] for point in points] == [1, 1]
    require_equal(points, tmp_path)


def test_a_persons_own_options_are_swept_over(tmp_path: Path) -> None:
    (tmp_path / "activation").mkdir()
    for name, text in {
        "one": "_target_: torch.nn.ReLU\nname: one\nlabel: ${model.name} ${lr}\n",
        "two": "defaults: [tact]\nname: two\n",
        "three": "# @package activation\n_target_: torch.nn.Tanh\nname: three\nlabel: 3\n",
    }.items():
        (tmp_path / "activation" / f"{name}.yaml").write_text(text)
    for choice in ("one,relu", "one,two", "one,three"):
        overrides = [f"activation={choice}", "lr=0.1,0.2", "seed=0,1"]
        command = compose_command("train", overrides, multirun=True, config_dir=tmp_path)
        require_equal(command.points, tmp_path)


def test_points_keep_the_order_of_the_command_line() -> None:
    points = compose_command("train", ["seed=1,0", "activation=tact,relu"], multirun=True).points
    assert [point.overrides for point in points] == [
        ("seed=1", "activation=tact"),
        ("seed=1", "activation=relu"),
        ("seed=0", "activation=tact"),
        ("seed=0", "activation=relu"),
    ]


def test_points_are_composed_when_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    command = compose_command("train", ["experiment=six_plots", "dataset=digits"])
    assert "points" not in vars(command)
    assert len(command.points) == 90
    assert command.points is command.points


def test_ten_thousand_points_need_few_compositions(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(*arguments: Any, **keywords: Any) -> Any:
        calls.append(arguments)
        return compose(*arguments, **keywords)

    monkeypatch.setattr("senet_lab.composition.command.compose", counted)
    command = compose_command("train", ["experiment=six_plots", "seed=range(334)"])
    assert len(command.points) == 6 * 5 * 334
    assert len(calls) == 1 + 6  # the command itself, and each option of `figure`
    calls.clear()
    assert len(compose_command("train", ["lr=0.1,1", "seed=range(5000)"], multirun=True).points) == 10_000
    assert len(calls) == 1


def test_a_template_with_an_equals_sign_needs_no_second_quotes() -> None:
    command = compose_command("plot", ["figures.line=lr=${lr} α=${activation.alpha}", "lr=0.5"])
    assert command.config.figures.line == "lr=${lr} α=${activation.alpha}"
    assert command.config.lr == 0.5


def test_a_class_on_the_command_line_is_called_by_its_own_name() -> None:
    words = ["activation._target_=torch.nn.Softplus,torch.nn.Tanh"]
    for more, labels in (([], ["Softplus", "Tanh"]), (["activation.label=mine"], ["mine", "mine"])):
        points = compose_command("train", [*words, *more], multirun=True).points
        nodes = [point.config.activation for point in points]
        assert [node["name"] for node in nodes] == ["Softplus", "Tanh"]
        assert [node["label"] for node in nodes] == labels
        assert [node["style"] for node in nodes] == [None, None]
        assert [point.directory.split("/")[2] for point in points] == ["Softplus", "Tanh"]


SWEEP = "hydra:\n  mode: MULTIRUN\n  sweeper:\n    params:\n      "


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("name: mine\nepocs: 3\n", 3, "unknown key epocs: did you mean epochs?"),
        ("defaults:\n  - override /activaton: mish\n", 3, "unknown key activaton: did you mean activation?"),
        ("name: mine\nepochs: -3\n", 3, "epochs=-3: epochs must be an integer of 1 or more"),
        (
            f"{SWEEP}seed: [0, 1]\n",
            6,
            "hydra.sweeper.params.seed=[0, 1]: is one value; write several as '0,1'",
        ),
        (
            f"{SWEEP}activation: relu,mihs\n",
            6,
            "activation=mihs: there is no such activation; did you mean mish?",
        ),
    ],
)
def test_a_mistake_in_an_experiment_is_told_with_its_file_and_line(
    tmp_path: Path, text: str, line: int, message: str
) -> None:
    file = tmp_path / "experiment" / "mine.yaml"
    file.parent.mkdir()
    file.write_text(f"# @package _global_\n{text}")
    with pytest.raises(UsageError) as error:
        compose_command("train", ["experiment=mine"], config_dir=tmp_path).points  # noqa: B018
    assert str(error.value).startswith(f"{file}:{line}: {message}")


def test_a_syntax_error_in_conf_names_file_and_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conf = shutil.copytree(config_folder(), tmp_path / "conf")
    (conf / "experiment" / "mine.yaml").write_text("# @package _global_\nname: x\n  lr: 1\n")
    monkeypatch.setattr("senet_lab.composition.command.config_folder", lambda: conf)
    with pytest.raises(UsageError, match=r"experiment/mine\.yaml:3: mapping values are not allowed here"):
        compose_command("train", ["experiment=mine"])
