"""Hydra config sources for the user's own folders: each file is checked when it is read."""

from collections.abc import Sequence
from pathlib import Path
from types import NoneType
from typing import cast

import yaml
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from senet_lab.errors import UsageError
from senet_lab.files import read_yaml


class CheckedFiles(FileConfigSource):
    """A folder of config files that are checked to be plain YAML before Hydra reads them."""

    @staticmethod
    def scheme() -> str:
        """The prefix of such a folder in Hydra's search path."""
        return "checked"

    def load_config(self, config_path: str) -> ConfigResult:
        """Read a file; see `load`."""
        file = Path(self.path) / self._normalize_file_name(config_path)
        if file.exists():
            load(file)
        return super().load_config(config_path)


def load(file: Path) -> DictConfig:
    """The content of a config file, interpolations unresolved.

    Raises:
        UsageError: not plain YAML, a duplicate key, no keys, or too large; names file and line.
    """
    content = read_yaml(file)  # which lets nothing grow beyond the text's own size
    if not isinstance(content, dict | NoneType):
        raise UsageError(f"{file}: must hold keys with values, not a {type(content).__name__}")
    try:
        return cast(DictConfig, OmegaConf.load(file))
    except yaml.MarkedYAMLError as error:
        raise UsageError(syntax_problem(error)) from error
    except OmegaConfBaseException as error:
        raise UsageError(f"{file}: {' '.join(str(error).split())}") from error


def syntax_problem(error: yaml.MarkedYAMLError) -> str:
    """File, line and problem of a syntax error in YAML."""
    mark = error.problem_mark
    return f"{mark.name}:{mark.line + 1}: {error.problem}" if mark else str(error.problem)


def search_path(folders: Sequence[Path]) -> list[str]:
    """The overrides that add `folders` to Hydra's search path.

    Raises:
        UsageError: a folder that does not exist.
    """
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"--config-dir {folder}: there is no such folder")
    Plugins.instance().register(CheckedFiles)
    paths = ",".join(repr(f"{CheckedFiles.scheme()}://{folder.resolve()}") for folder in folders)
    return [f"hydra.searchpath=[{paths}]"] if folders else []
