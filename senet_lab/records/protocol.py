"""The protocol of a comparison as its plan holds it: the declaration, and each run's role."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from senet_lab.config import ErrorMetric, ProtocolConfig, RunConfig
from senet_lab.dotted import set_value
from senet_lab.records.migrations import recorded_config

CHOICE = (
    "the trial with the lowest mean validation error after the last epoch over the tuning seeds; of equal "
    "ones the lowest values"
)
"""The rule by which an arm's trial is chosen."""
DIVERGED = "a run whose loss stops being finite counts with the error of chance, 1 − 1/classes"
"""The rule for runs that diverge, in tuning as in confirmation."""


class Stage(StrEnum):
    """The purpose of a run."""

    tune = "tune"
    confirm = "confirm"


@dataclass(frozen=True)
class Role:
    """The role of a planned run in its protocol."""

    stage: Stage
    block: str
    """Label of the network and data set."""
    arm: str
    """Label of the compared option."""
    widened: bool = False
    """True for a trial beyond the declared space."""
    rung: int = 0
    """Rung of successive halving."""


@dataclass(frozen=True)
class Cell:
    """One arm in one block: the config from which its runs are derived."""

    block: str
    arm: str
    option: str
    """The arm's value on the command line."""
    directory: str
    """Directory of a run at the config's own learning rate and seed, relative to the sweep's folder."""
    overrides: list[str]
    plain: dict[str, Any]
    follows: dict[str, str] = field(default_factory=dict)
    """Dotted keys, with the key that each interpolates and that runs change."""
    images: int = 0
    """Images of a training epoch."""
    validation_images: int = 0
    classes: int = 0
    parameters: int = 0
    """Trainable parameters of the network."""

    def chance(self, metric: ErrorMetric) -> float:
        """The error of guessing, as a fraction."""
        return 1 - min(5 if metric is ErrorMetric.top5 else 1, self.classes) / self.classes

    def derive(self, values: Mapping[str, Any]) -> RunConfig:
        """The config with some values replaced, by dotted key, and with the values that interpolate them.

        Raises:
            UsageError: a value out of its range.
        """
        plain = deepcopy(self.plain)
        for key, value in values.items():
            set_value(plain, key, value)
        for key, source in self.follows.items():
            if source in values:
                set_value(plain, key, values[source])
        return recorded_config(plain, f"{self.arm} in {self.block}")


@dataclass(frozen=True)
class Protocol:
    """A comparison as it was frozen before its first run."""

    declared: ProtocolConfig
    baseline: str
    """Label of the declared baseline."""
    command: str
    """The command line that planned it, without its execution keys."""
    cells: list[Cell]
    choice: str = CHOICE
    diverged: str = DIVERGED

    def cell(self, block: str, arm: str) -> Cell:
        """The cell of an arm in a block."""
        return next(cell for cell in self.cells if (cell.block, cell.arm) == (block, arm))

    @property
    def blocks(self) -> list[str]:
        """Labels of the blocks, in order."""
        return list(dict.fromkeys(cell.block for cell in self.cells))

    @property
    def arms(self) -> list[str]:
        """Labels of the arms, in order."""
        return list(dict.fromkeys(cell.arm for cell in self.cells))
