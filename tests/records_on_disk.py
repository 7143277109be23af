"""Run directories as written by training, made from plain files."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from senet_lab.analysis.grouping import Panel, group
from senet_lab.analysis.runs import read_records, usable_runs
from senet_lab.config import Band, FiguresConfig
from senet_lab.records.plan import Plan, PlannedRun, config_hash
from senet_lab.records.sweep import SweepDirectory

STYLES = {
    "relu": ("ReLU", 0, "#000000"),
    "swish": ("Swish", 1, "#0072B2"),
    "mish": ("Mish", 2, "#009E73"),
    "tact": ("TAct", 3, "#D55E00"),
    "mtact": ("mTAct", 4, "#CC79A7"),
}
MODELS = {"densenet121": "DenseNet-121", "mobilenetv2": "MobileNetV2", "senet18": "SENet-18"}
DATASETS = {"digits": "Digits", "cifar10": "CIFAR-10"}
TEMPLATES = FiguresConfig(
    name="${stem:${model.name}}_lr${lr}",
    title="${model.label} with learning rate ${lr}",
    line="${activation.label}",
    style="${activation.style}",
)
NOTE = "Missing: nothing but <b>a note</b>."
"""A note under the tests' drawing."""
HEADER = "epoch,lr,train_loss,train_top1,test_loss,test_top1,test_top5,seconds"


def run_config(
    model: str = "senet18",
    activation: str = "relu",
    lr: float = 0.001,
    seed: int = 0,
    dataset: str = "digits",
) -> dict[str, Any]:
    label, order, color = STYLES[activation]
    return {
        "model": {
            "_target_": "some.Network",
            "name": model,
            "label": MODELS.get(model.split("/")[-1], model),
        },
        "activation": {
            "_target_": "some.Activation",
            "name": activation,
            "label": label,
            "style": {"order": order, "color": color},
        },
        "dataset": {"name": dataset, "label": DATASETS[dataset]},
        "se": {"_target_": "some.Placement", "name": "none", "label": "no SE"},
        "augment": {"_target_": "some.Augment", "name": "published"},
        "optimizer": {"_target_": "torch.optim.Adam", "betas": [0.9, 0.999]},
        "schedule": {"_target_": "torch.optim.lr_scheduler.ConstantLR"},
        "lr": lr,
        "seed": seed,
        "epochs": 100,
        "batch_size": 128,
    }


def directory_of(config: dict[str, Any], extra: str = "") -> str:
    parts = [config["model"]["name"], config["activation"]["name"], f"lr={config['lr']!r}", extra]
    return "/".join(["runs", *filter(None, parts), f"seed={config['seed']}"])


def write_run(
    sweep: Path,
    config: dict[str, Any],
    top1: Sequence[float],
    state: str = "finished",
    extra: str = "",
    epochs: Sequence[int] | None = None,
) -> Path:
    """One run with the given test top-1 at each epoch (from 0 unless given)."""
    path = sweep / directory_of(config, extra)
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(yaml.safe_dump(config))
    epochs_asked = len(top1) if state == "finished" else config["epochs"]
    status = {"state": state, "epochs_done": len(top1), "epochs": epochs_asked, "error": None}
    (path / "status.json").write_text(json.dumps(status))
    rows = [
        f"{epoch},{config['lr']!r},1.0,0.5,1.0,{value!r},0.9,1.5"
        for epoch, value in zip(epochs or range(len(top1)), top1, strict=True)
    ]
    if rows:
        (path / "metrics.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    return path


def write_plan(sweep: Path, configs: Sequence[dict[str, Any]]) -> None:
    """Write a plan of these runs, without the fields that figures do not read."""
    runs = [PlannedRun(directory_of(config), config_hash(config), "", [], 1, 0, config) for config in configs]
    sweep.mkdir(parents=True, exist_ok=True)
    Plan(SweepDirectory(sweep), "", runs).write()


def panels_of(sweep: Path, **templates: Any) -> list[Panel]:
    """The panels of the runs in `sweep`, by the default templates, except the given ones."""
    return group(usable_runs(read_records(SweepDirectory(sweep))), replace(TEMPLATES, **templates))


def chart_of(
    sweep: Path, band: Band = Band.std, published: str | None = None, notes: Sequence[str] = (), **axes: Any
) -> Any:
    """The chart of the only panel in `sweep`, by the default axes, except the given ones."""
    from senet_lab.analysis.curves import curves, values
    from senet_lab.analysis.results import results
    from senet_lab.figures.axes import axes_of
    from senet_lab.figures.panels import draw
    from senet_lab.figures.style import looks_of

    (panel,) = panels_of(sweep)
    (chosen,) = axes_of(replace(TEMPLATES, **axes))
    others = results([panel], chosen.metric, published).others if published else None
    table = curves(values([panel], chosen.metric))
    return draw(panel, table, looks_of([panel]), chosen, band, others, notes)
