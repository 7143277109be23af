"""Config groups: the folders of YAML files that hold the options."""

from collections.abc import Sequence
from pathlib import Path

from senet_lab.files import read_yaml


def config_folder() -> Path:
    """`conf/`: the wheel's own copy, or the checkout's."""
    packaged = Path(__file__).parent / "conf"
    return packaged if packaged.is_dir() else Path(__file__).parent.parent / "conf"


def is_group(key: str, folders: Sequence[Path]) -> bool:
    """Whether `key` names a config group rather than a value."""
    return any((folder / key).is_dir() for folder in folders)


def options(group: str, *folders: Path) -> list[str]:
    """The options of a config group, nested ones as `published/senet18`, in alphabetical order.

    Args:
        group: as on a command line, `hydra/launcher`.
        folders: the user's own, besides `conf/`.
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
