"""The interface of trackers: one curve per run."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from senet_lab.composition.groups import targets
from senet_lab.dotted import leaves
from senet_lab.records.run import State
from senet_lab.records.sweep import SweepDirectory
from senet_lab.targets import construct, own_packages

PLAIN = (bool, int, float, str)


@dataclass(frozen=True)
class TrackedRun:
    """A run's identity and config, for opening its curve."""

    sweep: str
    """Name of the sweep."""
    name: str
    """The run's directory relative to the sweep's folder."""
    folder: Path
    """A folder for the tracker's files of this run."""
    config: dict[str, Any]
    """The resolved, nested config, without fields that do not affect results."""
    id: str
    """A stable id, from sweep, directory and config hash."""

    def flat_config(self) -> dict[str, Any]:
        """The config with dotted keys; values other than numbers, booleans and strings as text."""
        return {key: value if isinstance(value, PLAIN) else str(value) for key, value in leaves(self.config)}


class Curve(Protocol):
    """One run in a tracker."""

    epochs: int
    """Number of epochs when it was opened: the first missing epoch."""

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """Add an epoch, later than all previous ones."""

    def end(self, state: State, pictures: Mapping[str, bytes]) -> None:
        """Close the curve with the run's state and PNG images by name."""


class Tracker(Protocol):
    """A library. The constructor does not import it, but raises UsageError if it is not installed."""

    folder: Path
    """The local store, `outputs/<name>/tracking/<library>`."""

    def open(self, run: TrackedRun) -> Curve:
        """The run's curve, created if there is none."""


def build_tracker(node: Mapping[str, Any], sweep: SweepDirectory) -> Tracker | None:
    """The tracker that `tracker=…` names, for the sweep in folder `sweep`; None for `tracker=none`.

    Raises:
        UsageError: neither a tracker of this package nor the user's own, or a library that is not installed.
    """
    if not node:
        return None
    allowed = [*targets("tracker"), *own_packages()]
    library = str(node.get("_target_")).rpartition(".")[0].rpartition(".")[2]
    return construct("tracker", node, [Tracker], allowed, folder=sweep.tracking(library))
