"""The runs of a sweep as they stand, whatever state some of them are in."""

from typing import Any

from omegaconf import OmegaConf

from senet_lab.analysis.grouping import Figure, group, read_runs
from senet_lab.compose import Command
from senet_lab.records.sweep import SweepDirectory


def templates_of(command: Command) -> dict[str, Any]:
    """`figures` as the command's config has it, unresolved: each run fills it in with its own values."""
    templates = OmegaConf.to_container(command.node.figures)
    assert isinstance(templates, dict)
    return {str(key): value for key, value in templates.items()}


def figures_of(command: Command, sweep: SweepDirectory) -> list[Figure]:
    """The figures of a sweep, grouped as the command's config says.

    Raises:
        UsageError: no runs, a record that cannot be read, runs that cannot be grouped.
    """
    return group(read_runs(sweep), templates_of(command))
