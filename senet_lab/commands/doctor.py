"""`senet-lab doctor`: check this machine and print the commands that install missing parts."""

import json
import platform
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path
from typing import Any, cast

from omegaconf import OmegaConf
from packaging.requirements import Requirement

from senet_lab.commands.terminal import print_table
from senet_lab.composition.command import Command, config_folder, options
from senet_lab.config import Format
from senet_lab.errors import UsageError
from senet_lab.runs.cores import cpu_count
from senet_lab.text import counted

PACKAGES = ("torch", "torchvision", "hydra-core", "omegaconf", "chartify", "bokeh", "pandas", "scikit-learn")
BROWSER = "apt-get install chromium chromium-driver (figures are HTML only without it)"
DEVELOPMENT = "dev"
"""The extra for developers of this package."""


def doctor(command: Command) -> int:
    """Print versions, devices, browser, extras, trackers and data sets, with a remedy for missing ones."""
    rows = [*_software(), *_devices(), *_browser(), *_extras(), *_trackers(), *_datasets()]
    if command.config.format is Format.json:
        print(json.dumps(rows, indent=2))
    else:
        print_table(("", "found", "to fix"), [list(row.values()) for row in rows], has_lines=False)
    return 0


def _row(item: str, found: object, fix: str = "") -> dict[str, str]:
    return {"item": item, "found": str(found), "fix": fix}


def _software() -> list[dict[str, str]]:
    rows = [_row("python", platform.python_version())]
    return rows + [_row(package, version(package)) for package in PACKAGES]


def _devices() -> list[dict[str, str]]:
    import torch

    rows = [_row("cpu", f"{counted(cpu_count(), 'core')}, {torch.backends.cpu.get_cpu_capability()}")]
    if not torch.cuda.is_available():
        return [*rows, _row("gpu", "none", "runs use the CPU; for a GPU, install NVIDIA's driver")]
    for index in range(torch.cuda.device_count()):
        rows.append(_row(f"gpu {index}", torch.cuda.get_device_name(index)))
    return rows


def _browser() -> list[dict[str, str]]:
    from senet_lab.figures.browser import BROWSERS, DRIVERS, find_program

    found = {"chromium": find_program(BROWSERS), "chromedriver": find_program(DRIVERS)}
    return [_row(item, path or "missing", "" if path else BROWSER) for item, path in found.items()]


def _extras() -> list[dict[str, str]]:
    """The extras of this package, each with its libraries."""
    known = [Requirement(text) for text in requires("senet-lab") or ()]
    rows = []
    for extra in metadata("senet-lab").get_all("Provides-Extra") or ():
        if extra == DEVELOPMENT:
            continue
        needed = [one.name for one in known if one.marker and one.marker.evaluate({"extra": extra})]
        versions = {package: _version(package) for package in needed}
        fix = "" if all(versions.values()) else f"pip install 'senet-lab[{extra}]'"
        found = ", ".join(f"{package} {number or 'missing'}" for package, number in versions.items())
        rows.append(_row(f"extra {extra}", found, fix))
    return rows


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _trackers() -> list[dict[str, str]]:
    """The options of `tracker=`, and whether their libraries are installed."""
    from senet_lab.records.sweep import SweepDirectory
    from senet_lab.trackers.tracker import build_tracker

    sweep, rows = SweepDirectory(Path("outputs/default")), []
    for name in options("tracker"):
        try:
            tracker = build_tracker(_option("tracker", name), sweep)
        except UsageError as error:
            rows.append(_row(f"tracker {name}", "not ready", str(error)))
        else:
            rows.append(_row(f"tracker {name}", "ready" if tracker else "no tracker"))
    return rows


def _datasets() -> list[dict[str, str]]:
    """Downloadable data sets: present ones, and those downloaded on first use."""
    from senet_lab.build import build_dataset
    from senet_lab.data.datasets import Downloaded

    rows = []
    for name in options("dataset"):
        node = _option("dataset", name)
        if "_target_" not in node:
            continue  # an option based on another one, such as imagenet on image_folder
        dataset = build_dataset(node)
        if isinstance(dataset, Downloaded):
            here = dataset.folder.exists()
            fix = "" if here else f"senet-lab train dataset={name} downloads it at its first use"
            rows.append(_row(f"dataset {name}", dataset.folder if here else "not downloaded yet", fix))
    return rows


def _option(group: str, name: str) -> dict[str, Any]:
    """The content of an option's YAML."""
    node = OmegaConf.load(config_folder() / group / f"{name}.yaml")
    return cast(dict[str, Any], OmegaConf.to_container(node, resolve=True))
