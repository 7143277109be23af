"""Config groups: the folders of YAML files that hold the options."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from senet_lab.config import RunConfig
from senet_lab.files import read_yaml
from senet_lab.version import PACKAGE


def config_folder() -> Path:
    """`conf/`: the wheel's own copy, or the checkout's."""
    packaged = PACKAGE / "conf"
    return packaged if packaged.is_dir() else PACKAGE.parent / "conf"


def is_group(key: str, folders: Sequence[Path]) -> bool:
    """Whether `key` names a config group rather than a value."""
    return any((folder / key).is_dir() for folder in folders)


def options(group: str, *folders: Path) -> list[str]:
    """The options of a config group, nested ones as `published/senet18`, in alphabetical order.

    Args:
        group: name of the group, such as `hydra/launcher`.
        folders: the user's own folders, in addition to `conf/`.
    """
    found = {
        file.relative_to(folder / group).with_suffix("").as_posix()
        for folder in (config_folder(), *folders)
        for file in (folder / group).rglob("*.yaml")
    }
    return sorted(found, key=lambda name: (name.count("/"), name))


def option_file(group: str, name: str, folders: Sequence[Path]) -> Path | None:
    """The file of an option, in the first folder that has it."""
    files = (folder / group / f"{name}.yaml" for folder in folders)
    return next((file for file in files if file.is_file()), None)


def targets(group: str) -> list[str]:
    """The classes named by the options of a group of `conf/`."""
    nodes = (read_yaml(file) for file in sorted((config_folder() / group).glob("*.yaml")))
    return list(dict.fromkeys(node["_target_"] for node in nodes if "_target_" in node))


def option_of(group: str, node: Mapping[str, Any]) -> str | None:
    """The option of `conf/` for a run's node: its name, or without a name the most similar option.

    The most similar option has the same `_target_` and the most keys, then values, in common; None if there
    is none.
    """
    if "name" in node:
        return str(node["name"])
    near = {
        name: values
        for name, values in _values(group).items()
        if values.get("_target_") == node.get("_target_")
    }

    def likeness(name: str) -> tuple[int, int]:
        values = near[name]
        return -len(node.keys() ^ values.keys()), sum(node.get(key) == value for key, value in values.items())

    return max(near, key=likeness, default=None)


def figure_of(config: RunConfig) -> str | None:
    """The option of `conf/figure` with a run's network and learning rate; None if there is none."""
    wanted = [{"override /model": config.model.get("name")}], config.lr
    figures = _values("figure").items()
    return next((name for name, values in figures if (values["defaults"], values["lr"]) == wanted), None)


@cache
def _values(group: str) -> dict[str, Mapping[str, Any]]:
    """The content of each option of a group of `conf/`."""
    return {name: read_yaml(config_folder() / group / f"{name}.yaml") for name in options(group)}
