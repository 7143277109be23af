"""`senet-lab doctor`: what this machine has, and the line that installs what it lacks."""

import json
import platform
import shutil
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, cast

from joblib import cpu_count
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table
from rich.text import Text

from senet_lab.compose import Command, config_folder, options
from senet_lab.config import Format

PACKAGES = ("torch", "torchvision", "hydra-core", "omegaconf", "chartify", "bokeh", "pandas", "scikit-learn")


def doctor(command: Command, arguments: Sequence[str]) -> int:  # noqa: ARG001
    """Print versions, devices, browser and data sets, each missing thing with what fixes it."""
    rows = [*_software(), *_devices(), *_browser(), *_datasets()]
    if command.config.format is Format.json:
        print(json.dumps(rows, indent=2))
        return 0
    table = Table("", "found", "to fix", box=None)
    for row in rows:
        table.add_row(row["item"], Text(row["found"]), Text(row["fix"]))
    Console().print(table)
    return 0


def _row(item: str, found: object, fix: str = "") -> dict[str, Any]:
    return {"item": item, "found": str(found), "fix": fix}


def _software() -> list[dict[str, Any]]:
    rows = [_row("python", platform.python_version())]
    return rows + [_row(package, version(package)) for package in PACKAGES]


def _devices() -> list[dict[str, Any]]:
    import torch

    rows = [_row("cpu", f"{cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}")]
    if not torch.cuda.is_available():
        return [*rows, _row("gpu", "none", "runs use the CPU; for a GPU, install NVIDIA's driver")]
    for index in range(torch.cuda.device_count()):
        rows.append(_row(f"gpu {index}", torch.cuda.get_device_name(index)))
    return rows


def _browser() -> list[dict[str, Any]]:
    rows = []
    for item, names in (
        ("chromium", ("chromium", "chromium-browser", "google-chrome")),
        ("chromedriver",) * 2,
    ):
        found = next(filter(None, map(shutil.which, [names] if isinstance(names, str) else names)), None)
        fix = "" if found else "apt-get install chromium chromium-driver (else figures are HTML only)"
        rows.append(_row(item, found or "missing", fix))
    return rows


def _datasets() -> list[dict[str, Any]]:
    """The data sets that are downloaded: which are here, and which come at their first use."""
    from senet_lab.build import build_dataset
    from senet_lab.data.datasets import Downloaded

    rows = []
    for name in options("dataset"):
        node = OmegaConf.load(config_folder() / "dataset" / f"{name}.yaml")
        dataset = build_dataset(cast(dict[str, Any], OmegaConf.to_container(node, resolve=True)))
        if isinstance(dataset, Downloaded):
            here = dataset.folder.exists()
            fix = "" if here else f"senet-lab train dataset={name} downloads it at its first use"
            rows.append(_row(f"dataset {name}", dataset.folder if here else "not here yet", fix))
    return rows
