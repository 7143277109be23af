"""Every YAML in conf/ is composed, built and stepped once: a new file is tested without touching a test."""

import functools
import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from senet_lab.build import (
    build_augment,
    build_dataset,
    build_network,
    build_optimizer,
    build_schedule,
)
from senet_lab.composition.command import compose_command, config_folder, options
from senet_lab.config import FiguresConfig, RunConfig
from senet_lab.files import read_yaml

# What a group's options are put into; digits unless the group is the data set itself.
SMALL = ["dataset=digits", "batch_size=8", "trainer.device=cpu"]
GROUPS = ("activation", "augment", "figure", "model", "optimizer", "schedule", "se")
# Options that are no part of a run, or need data that is not here: composed, and built as far as that goes.
OTHERS = ("dataset", "experiment", "hydra/launcher", "tracker")
VERBS = sorted(file.stem for file in config_folder().glob("*.yaml") if file.stem != "base")
ON_CPU = ("activation", "augment", "optimizer", "schedule")
"""Groups stepped with numbers; networks are, at 8 pixels, in tests/networks, and here with shapes alone."""
NEEDS = {
    "se=efficientnet": "model=efficientnet_b0",
    "se=condconv": "model=condconv_mobilenetv2",
    "augment=resized_crop": "augment.size=8",
}
"""Options that do not go with every other one: what they are tried with."""


@functools.cache
def swept(group: str) -> dict[str, RunConfig]:
    """The run of each option of a group: a sweep over all that need nothing beside them, the others alone."""
    base = ["model=cnn3"] if group in ON_CPU else []
    names = [name for name in options(group) if f"{group}={name}" not in NEEDS]
    together = compose_command("train", [*base, f"{group}={','.join(names)}", *SMALL], multirun=True).points
    runs = {name: point.config for name, point in zip(names, together, strict=True)}
    assert all(f"{group}={name}" in point.overrides for name, point in zip(names, together, strict=True))
    for name in set(options(group)) - runs.keys():
        override = f"{group}={name}"
        (point,) = compose_command("train", [*base, override, NEEDS[override], *SMALL]).points
        runs[name] = point.config
    return runs


def step(config: RunConfig, device: str = "cpu") -> None:
    """One optimizer step on five real images, and one of the schedule; without gradients on `meta`."""
    dataset = build_dataset(config.dataset)
    with torch.device(device):
        network = build_network(config, dataset.num_classes)
        optimizer = build_optimizer(config.optimizer, network, config.lr)
    schedule = build_schedule(config.schedule, optimizer, total_steps=10)
    batches = dataset.batches(build_augment(config.augment), 5, torch.device("cpu"))
    images, labels = next(iter(batches.train(torch.Generator())))
    with torch.set_grad_enabled(device != "meta"):
        loss = F.cross_entropy(network(images.to(device)), labels.to(device))
    if device != "meta":
        loss.backward()
        assert loss.isfinite()
    optimizer.step()
    schedule.step()


def test_the_yaml_shows_every_key_of_figures_with_its_default() -> None:
    shown = read_yaml(config_folder() / "base.yaml")["figures"]
    assert list(shown) == [field.name for field in fields(FiguresConfig)]
    templates = ("name", "title", "line", "style")
    defaults = {field.name: field.default for field in fields(FiguresConfig)}
    assert {key: value for key, value in shown.items() if key not in templates} == {
        key: value for key, value in defaults.items() if key not in templates
    }


def test_every_group_is_known_to_this_test() -> None:
    folder = config_folder()
    groups = {file.relative_to(folder).parts[0] for file in folder.glob("*/**/*.yaml")}
    assert groups == {*GROUPS, *(group.split("/")[0] for group in OTHERS)}


@pytest.mark.parametrize(("group", "name"), [(group, name) for group in GROUPS for name in options(group)])
def test_every_option_composes_builds_and_steps(group: str, name: str) -> None:
    if (group, name) == ("model", "timm"):
        pytest.importorskip("timm")
    step(swept(group)[name], "cpu" if group in ON_CPU else "meta")


@pytest.mark.parametrize("name", options("experiment"))
def test_every_experiment_composes_for_every_verb_and_its_ends_step(name: str) -> None:
    experiment = [f"experiment={name}"]
    for verb in ("plot", "status", "summary"):
        command = compose_command(verb, experiment)
        assert command.config.name == name
    crops = command.config.augment["name"] == "resized_crop"
    here = [*experiment, "dataset=digits", "dataset.image_size=8", *(["augment.size=16"] if crops else [])]
    points = compose_command("train", here).points
    assert len({point.directory for point in points}) == len(points)
    for point in (points[0], points[-1]):
        step(point.config, "meta")


@pytest.mark.parametrize("name", options("experiment"))
def test_every_experiment_says_source_cost_and_command(name: str) -> None:
    text = (config_folder() / "experiment" / f"{name}.yaml").read_text("utf-8")
    comment = "\n".join(line for line in text.splitlines() if line.startswith("#"))
    assert "Cost:" in comment
    assert f"senet-lab train experiment={name}" in comment
    assert "arXiv" in text or "GSPuniani" in text or "six plots" in comment
    for verb, words in re.findall(
        r"^#   (?:senet-lab|torchrun .*-m senet_lab) (\w+) (.*)", comment, re.MULTILINE
    ):
        compose_command(verb, shlex.split(words))


@pytest.mark.parametrize("name", options("dataset"))
def test_every_data_set_composes_and_builds(name: str) -> None:
    (point,) = compose_command("train", [f"dataset={name}"]).points
    assert build_dataset(point.config.dataset) == build_dataset(point.config.dataset)
    assert point.config.dataset["label"]


@pytest.mark.parametrize("verb", VERBS)
def test_every_primary_config_composes(verb: str) -> None:
    required = ["run=here"] if verb == "inspect" else []
    assert compose_command(verb, required).config


@pytest.mark.parametrize("name", options("hydra/launcher"))
def test_every_launcher_names_its_class(name: str) -> None:
    node = compose_command("train", [f"hydra/launcher={name}"]).launcher
    assert node["_target_"].startswith("senet_lab.runs.")
    assert (
        Path(__file__).parents[1] / (node["_target_"].rpartition(".")[0].replace(".", "/") + ".py")
    ).exists()
