"""The `figures` settings of a sweep's first command, as defaults of later ones."""

import json
import re
from dataclasses import asdict, replace
from functools import cache
from typing import Any

import msgspec

from senet_lab.composition.command import Command
from senet_lab.composition.groups import config_folder
from senet_lab.config import FiguresConfig
from senet_lab.errors import UsageError
from senet_lab.files import read_yaml, typed
from senet_lab.records.plan import Plan, read_plan
from senet_lab.records.sweep import SweepDirectory

HARMLESS = re.compile(r"\$\{(?:stem:\$\{[\w.]+\}|[\w.]+)\}")
"""The interpolations that a plan's templates may have: a value of the run, and the last part of one."""


def chosen_figures(command: Command) -> dict[str, Any]:
    """Keys of `figures` that a command gives, or in which it differs from the defaults, as plain values."""
    return {
        key: value
        for key, value in _plain(command.config.figures).items()
        if value != _defaults()[key] or f"figures.{key}" in command.keys
    }


@cache
def _defaults() -> dict[str, Any]:
    """The `figures` of `base.yaml`."""
    return _plain(FiguresConfig(**read_yaml(config_folder() / "base.yaml")["figures"]))


def planned_config(command: Command, sweep: SweepDirectory) -> Any:
    """The command's config, with the `figures` of the sweep's plan as defaults.

    Keys of `figures` on the command line, and those that its experiment or folder sets, stay.

    Raises:
        UsageError: a plan that cannot be read, or whose templates would resolve more than values of a run.
    """
    plan: Plan | None = read_plan(sweep)
    figures = {} if plan is None else plan.figures
    chosen = chosen_figures(command) if figures else {}
    planned = {key: value for key, value in figures.items() if key not in chosen}
    if not planned:
        return command.config
    if "${" in HARMLESS.sub("", json.dumps(planned)):
        raise UsageError(
            f"{sweep.plan_file}: its figures.* interpolate other things than values of a run, which could be "
            "this environment's: give them on the command line"
        )
    values = {**_plain(command.config.figures), **planned}
    return replace(command.config, figures=typed(FiguresConfig, values, sweep.plan_file))


def _plain(figures: FiguresConfig) -> dict[str, Any]:
    return msgspec.to_builtins(asdict(figures))
