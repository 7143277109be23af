"""Resolution of `_target_`, and construction of its node."""

import csv
import sys
from pathlib import Path
from typing import Any

import pytest

from senet_lab.build import build_act_layer, build_augment, build_dataset, build_optimizer, build_schedule
from senet_lab.cli import main
from senet_lab.errors import UsageError
from senet_lab.records.sweep import SweepDirectory
from senet_lab.runs.launchers import build_launcher
from senet_lab.trackers.tracker import build_tracker

OWN = '''
import csv
from dataclasses import dataclass

import torch
from torch import nn

from senet_lab.data.augment import Augment
from senet_lab.data.datasets import Digits


class Cube(nn.Module):
    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return self.factor * x**3 / 10


class Line(nn.Module):
    def __init__(self, num_classes: int, act_layer, hidden: int = 8) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(192, hidden), act_layer(hidden))
        self.last = nn.Linear(hidden, num_classes)

    def forward(self, x):
        return self.last(self.layers(x))


@dataclass(frozen=True)
class Mine(Digits):
    pass


class Upside(Augment):
    def __init__(self, turned: bool = True, **rest) -> None:
        super().__init__(**rest)
        self.turned = turned


class Sgd(torch.optim.SGD):
    pass


class Halving(torch.optim.lr_scheduler.StepLR):
    def __init__(self, optimizer) -> None:
        super().__init__(optimizer, step_size=1, gamma=0.5)


class Lines:
    """A tracker that writes a line an epoch."""

    def __init__(self, folder, separator: str = " ") -> None:
        self.folder, self.separator = folder, separator

    def open(self, run):
        self.folder.mkdir(parents=True, exist_ok=True)
        return Curve(self.folder / "lines.txt", self.separator)


class Curve:
    def __init__(self, file, separator) -> None:
        self.file, self.separator, self.epochs = file, separator, 0

    def log(self, epoch, values):
        with self.file.open("a") as file:
            file.write(f"{epoch}{self.separator}{values['test_loss']}\\n")

    def end(self, state, pictures):
        with self.file.open("a") as file:
            file.write(f"{state}\\n")


def function(**_):
    raise AssertionError("was called")
'''


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A person's own package, which the variable allows."""
    package = tmp_path / "packages" / "mylab"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "parts.py").write_text(OWN)
    (package / "broken.py").write_text("import nothing_of_this_name\n")
    (package / "wrong.py").write_text("raise RuntimeError('no licence\\nfound')\n")
    for module in [name for name in sys.modules if name.partition(".")[0] == "mylab"]:
        monkeypatch.delitem(sys.modules, module)  # an earlier test's, whose folder may be gone
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setenv("SENET_LAB_PACKAGES", "mylab")
    return package


def test_a_run_of_a_persons_own_parts(own: Path, tmp_path: Path) -> None:
    folder = tmp_path / "conf"
    for group, text in {
        "model": "_target_: mylab.parts.Line\nname: line\nlabel: Line\nhidden: 4\n",
        "activation": "_target_: mylab.parts.Cube\nname: cube\nlabel: Cube\nstyle: null\nfactor: 2.0\n",
        "dataset": "_target_: mylab.parts.Mine\nname: mine\nlabel: Mine\nimage_size: 8\n",
        "augment": "_target_: mylab.parts.Upside\nname: upside\nlabel: Upside\nturned: false\n",
        "optimizer": "_target_: mylab.parts.Sgd\nmomentum: 0.5\n",
        "schedule": "_target_: mylab.parts.Halving\n",
        "tracker": "_target_: mylab.parts.Lines\nseparator: ';'\n",
    }.items():
        (folder / group).mkdir(parents=True)
        (folder / group / "mine.yaml").write_text(text)
    groups = ("model", "activation", "dataset", "augment", "optimizer", "schedule", "tracker")
    line = ["train", *(f"{group}=mine" for group in groups), "epochs=2", "lr=0.1", "hydra/launcher=serial"]
    assert main([*line, f"outputs={tmp_path / 'outputs'}", "--config-dir", str(folder)]) == 0
    with (tmp_path / "outputs/default/runs/line/cube/lr=0.1/seed=0/metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["lr"] for row in rows] == ["0.1", "0.05"]
    lines = (tmp_path / "outputs/default/tracking/parts/lines.txt").read_text().splitlines()
    assert lines == [*(f"{row['epoch']};{row['test_loss']}" for row in rows), "finished"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("mylab.parts.Nothing", "there is no such class"),
        ("mylab.parts.function", "there is no such class"),
        ("mylab.parts.Sgd", "must be a subclass of torch.nn.modules.module.Module"),
        ("mylab.parts.csv.writer", "there is no such class"),
        ("mylab.nowhere.Cube", "SENET_LAB_PACKAGES allows mylab.nowhere, but Python does not find it"),
        ("mylab.broken.Cube", "SENET_LAB_PACKAGES allows) failed: ModuleNotFoundError: No module named 'not"),
        ("mylab.wrong.Cube", "SENET_LAB_PACKAGES allows) failed: RuntimeError: no licence found"),
        ("mylabs.parts.Cube", "must name a class in one of"),
        ("torch.nn.Linear.forward", "there is no such class"),
        ("torch.hub.load", "must name a class in one of"),
    ],
)
def test_what_is_no_activation(own: Path, path: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        build_act_layer({"_target_": path}, seed=0)
    assert message in str(caught.value)
    assert f"activation._target_={path}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("build", "node", "message"),
    [
        (build_dataset, {"_target_": "senet_lab.data.datasets.Path"}, "must be a class with the methods"),
        (build_dataset, {"_target_": "senet_lab.data.dataset.ImageData"}, "statistics, fingerprint, check"),
        (build_dataset, {"_target_": "senet_lab.data.datasets.Digits", "image_size": 8.5}, "Expected `int`"),
        (build_augment, {"_target_": "torch.nn.Identity"}, "must be a subclass of senet_lab.data.augment"),
        (
            build_augment,
            {"_target_": "senet_lab.data.augment.Augment", "policy": {"_target_": "torch.nn.Linear"}},
            "augment.policy._target_=torch.nn.Linear: must be a subclass of senet_lab.data",
        ),
        (
            build_augment,
            {"_target_": "senet_lab.data.augment.Augment", "mean": [{"a": {"_target_": "os.mkdir"}}]},
            "augment.mean.0.a._target_=os.mkdir: must name a class in one of",
        ),
        (
            build_augment,
            {"_target_": "senet_lab.data.augment.Augment", "flip": "a"},
            "augment.flip=a: Expected",
        ),
        (build_augment, {"_target_": "senet_lab.data.augment.Augment", "flip": [0.5]}, "Expected `float`"),
        (
            build_augment,
            {"_target_": "senet_lab.data.augment.Augment", "flips": 1},
            "keyword argument 'flips'",
        ),
        (build_augment, {}, "augment._target_=None: must name a class in one of"),
        (build_augment, {"_target_": ["a"]}, "augment._target_=['a']: must name a class in one of"),
        (build_launcher, {"_target_": "senet_lab.runs.launchers.Launcher"}, "launchers.Joblib, "),
        (build_launcher, {"_target_": "senet_lab.runs.launchers._Pools"}, "launchers.Joblib, "),
        (build_launcher, {"_target_": "mylab.parts.Lines"}, "launchers.Joblib, "),
        (
            build_launcher,
            {"_target_": "senet_lab.runs.launchers.Joblib", "n_jobs": "a"},
            "Expected `int | null`",
        ),
    ],
)
def test_what_cannot_be_built(own: Path, build: Any, node: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        build(node)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "path",
    [
        "senet_lab.trackers.mirror.Mirror",
        "senet_lab.trackers.tracker.Tracker",
        "senet_lab.trackers.tensorboard._Events",
        "senet_lab.trackers.tensorboard.TensorBoard.open",
        "mylab.parts.Sgd",
    ],
)
def test_what_is_no_tracker(own: Path, tmp_path: Path, path: str) -> None:
    with pytest.raises(UsageError, match=f"tracker._target_={path}: "):
        build_tracker({"_target_": path}, SweepDirectory(tmp_path))


@pytest.mark.parametrize(
    "bounds", [[1], [], [0, 1, 2], ["a", "b"], [0.0, float("inf")], [[0], [1]], [None, 1]]
)
def test_a_range_is_two_numbers(bounds: list[Any]) -> None:
    node = {"_target_": "senet_lab.networks.activations.TAct", "alpha": bounds}
    with pytest.raises(UsageError, match="must be one number, or"):
        build_act_layer(node, seed=0)


def test_nothing_in_a_node_is_interpolated(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record is data: a text in it that OmegaConf would resolve stays as it is."""
    monkeypatch.setenv("SECRET", "key")
    text = "${oc.create:{_target_: os.mkdir, path: ran}} ${oc.env:SECRET}"
    tracker: Any = build_tracker({"_target_": "mylab.parts.Lines", "separator": text}, SweepDirectory(own))
    assert tracker.separator == text
    with pytest.raises(UsageError, match="must name a class in one of"):
        build_augment({"_target_": "${oc.env:SECRET}"})


def test_a_wrong_value_is_told_by_its_constructor(own: Path) -> None:
    network: Any = build_act_layer({"_target_": "torch.nn.PReLU"}, seed=0)(4)
    with pytest.raises(UsageError, match=r"optimizer: torch.optim.SGD: Invalid momentum value: -1"):
        build_optimizer({"_target_": "torch.optim.SGD", "momentum": -1}, network, 0.1)
    optimizer = build_optimizer({"_target_": "torch.optim.SGD"}, network, 0.1)
    with pytest.raises(UsageError, match=r"schedule.step_size=a: Expected `int`"):
        build_schedule({"_target_": "torch.optim.lr_scheduler.StepLR", "step_size": "a"}, optimizer, 10)
