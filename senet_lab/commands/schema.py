"""`senet-lab schema`: write JSON Schemas with which editors complete and check YAML configs."""

import json
from pathlib import Path

from senet_lab.composition.command import Command
from senet_lab.config import SchemaConfig
from senet_lab.files import write_atomic
from senet_lab.schema import PRIMARY, schemas

FOLDER = ".schema"
"""Output folder beside the config groups; it holds no YAML, so it is no group."""


def schema(command: Command) -> int:
    """Write one schema per config group; print the yaml-language-server setting that maps files to schemas.

    Raises:
        UsageError: see `schemas` and `write_atomic`.
    """
    config: SchemaConfig = command.config
    folders = command.folders
    folder = Path(config.folder) if config.folder else folders[-1] / FOLDER
    files = {}
    for group, content in schemas(folders).items():
        file = folder / f"{group}.json"
        write_atomic(file, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
        pattern = "*.yaml" if group == PRIMARY else f"{group}/**/*.yaml"
        files[_from_here(file)] = [f"{_from_here(folder.parent)}/{pattern}"]
    print(json.dumps({"yaml.schemas": files}, indent=2, ensure_ascii=False))
    return 0


def _from_here(path: Path) -> str:
    """A path relative to the working directory if it lies below it."""
    path, here = path.resolve(), Path.cwd()
    return (path.relative_to(here) if path.is_relative_to(here) else path).as_posix()
