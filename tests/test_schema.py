"""The JSON Schemas of conf/ accept each of its files, refuse slips, and are what the command writes today."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator
from referencing import Registry, Resource

from senet_lab.cli import main
from senet_lab.composition.groups import config_folder, options
from senet_lab.schema import FOR_PEOPLE, PRIMARY, schemas
from senet_lab.targets import FOR_PEOPLE as READ_BY_PEOPLE
from senet_lab.targets import PACKAGES

CONF = config_folder()
WRITTEN = {
    file.relative_to(CONF / ".schema").with_suffix("").as_posix(): json.loads(file.read_text("utf-8"))
    for file in (CONF / ".schema").rglob("*.json")
}
FILES = sorted(file.relative_to(CONF).as_posix() for file in CONF.rglob("*.yaml"))


def messages(group: str, content: Any, written: dict[str, Any] = WRITTEN) -> list[str]:
    """Errors that the schema of a group finds."""
    registry: Registry[Any] = Registry().with_resources(
        (f"{name}.json", Resource.from_contents(schema)) for name, schema in written.items()
    )
    Draft7Validator.check_schema(written[group])
    return [
        error.message for error in Draft7Validator(written[group], registry=registry).iter_errors(content)
    ]


def group_of(file: str) -> str:
    """The group whose folder holds a file of conf/."""
    return next((group for group in WRITTEN if file.startswith(f"{group}/")), PRIMARY)


@pytest.mark.parametrize("file", FILES)
def test_every_file_of_conf_is_valid(file: str) -> None:
    assert messages(group_of(file), yaml.safe_load((CONF / file).read_text("utf-8"))) == []


def test_the_files_are_what_the_command_writes() -> None:
    assert schemas([CONF]) == WRITTEN


def test_every_folder_of_conf_has_a_schema_and_schemas_are_no_options() -> None:
    assert {group_of(file) for file in FILES} == set(WRITTEN)
    assert not options(".schema")
    assert set(FOR_PEOPLE) == set(READ_BY_PEOPLE)


def test_the_manual_shows_the_setting(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", f"folder={tmp_path}/conf/.schema"]) == 0
    printed = capfd.readouterr().out.replace(f"{tmp_path}/", "")
    shown = (CONF.parent / "docs/yaml.md").read_text("utf-8").partition("```json")[2].partition("```")[0]
    assert json.loads(f"{{{shown}}}") == json.loads(printed)


@pytest.mark.parametrize(
    ("group", "content", "wrong"),
    [
        ("model", "{_target_: senet_lab.networks.resnet.ResNet, depth: [2, 2]}", "[2, 2] is not valid"),
        (
            "model",
            "{_target_: senet_lab.networks.resnet.ResNet, growth_rate: 32}",
            "'growth_rate' was unexpected",
        ),
        ("model", "{defaults: [resnet18], widht: 2.0}", "'widht' was unexpected"),
        (
            "model",
            "{_target_: senet_lab.networks.resnet.ResNet, num_classes: 10}",
            "'num_classes' was unexpected",
        ),
        ("activation", "{defaults: [tact], alpha: high}", "'high' is not valid"),
        ("activation", "{name: 3}", "3 is not of type 'string'"),
        ("optimizer", "{_target_: torch.optim.SGD, momentum: fast}", "'fast' is not valid"),
        ("optimizer", "{_target_: torch.optim.SGD, lr: 0.1}", "'lr' was unexpected"),
        (
            "hydra/launcher",
            "{_target_: senet_lab.runs.launchers.Serial, n_jobs: 2}",
            "'n_jobs' was unexpected",
        ),
        ("experiment", "{epoch: 3}", "'epoch' was unexpected"),
        ("experiment", "{epochs: three}", "'three' is not valid"),
        ("experiment", "{trainer: {precision: float16}}", "'float16'"),
        ("experiment", "{trainer: {devise: cpu}}", "'devise' was unexpected"),
        ("experiment", "{dataset: {image_sise: 8}}", "'image_sise' was unexpected"),
        ("experiment", "{defaults: {model: cnn3}}", "is not of type 'array'"),
    ],
)
def test_a_slip_is_refused(group: str, content: str, wrong: str) -> None:
    (message,) = messages(group, yaml.safe_load(content))
    assert wrong in message


@pytest.mark.parametrize(
    ("group", "content"),
    [
        ("experiment", "{epochs: '${oc.env:EPOCHS}', trainer: {deterministic: '${x}'}, protocol: null}"),
        (
            "experiment",
            "{model: {stem_stride: 1, width: '${scaling.width}'}, optimizer: {no_decay: [norms]}}",
        ),
        (
            "augment",
            "{defaults: [standard], mean: ['${x}', 0.5, 0.5], policy: {_target_: mine.Blur, radius: 2}}",
        ),
        ("activation", "{_target_: torch.nn.ELU, alpha: [0.5, 1.5]}"),
        ("activation", "{_target_: mine.activations.Bent, bend: 3}"),
    ],
)
def test_what_hydra_takes_is_accepted(group: str, content: str) -> None:
    assert messages(group, yaml.safe_load(content)) == []


def test_a_folder_of_ones_own_has_schemas_with_its_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv(PACKAGES, "schema_of_mine")
    Path("schema_of_mine.py").write_text(
        "from torch import nn\n"
        'class Bent(nn.Module):\n    """Bent.\n\n    Args:\n        bend: degrees.\n    """\n\n'
        "    def __init__(self, channels: int, bend: float = 1.0) -> None:\n        super().__init__()\n"
    )
    option = tmp_path / "my_conf/activation/bent.yaml"
    option.parent.mkdir(parents=True)
    option.write_text("_target_: schema_of_mine.Bent\nname: bent\nlabel: Bent\nbend: 2.0\n")

    assert main(["schema", "--config-dir", "my_conf"]) == 0
    mapping = json.loads(capfd.readouterr().out)["yaml.schemas"]
    assert mapping["my_conf/.schema/activation.json"] == ["my_conf/activation/**/*.yaml"]
    assert mapping["my_conf/.schema/primary.json"] == ["my_conf/*.yaml"]
    mine = WRITTEN | {"activation": json.loads(Path("my_conf/.schema/activation.json").read_text("utf-8"))}
    assert "degrees." in json.dumps(mine["activation"])
    assert messages("activation", yaml.safe_load(option.read_text()), mine) == []
    (message,) = messages("activation", {"_target_": "schema_of_mine.Bent", "bent": 2.0}, mine)
    assert "'bent' was unexpected" in message

    assert main(["schema", "--config-dir", "my_conf", "folder=elsewhere"]) == 0
    assert (
        Path("elsewhere/activation.json").read_text() == Path("my_conf/.schema/activation.json").read_text()
    )
