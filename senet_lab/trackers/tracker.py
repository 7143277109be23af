"""What a tracker is asked for: one curve a run, opened, continued, ended."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from senet_lab.groups import targets
from senet_lab.records.run import State
from senet_lab.records.sweep import SweepDirectory
from senet_lab.targets import construct, own_packages

PLAIN = (bool, int, float, str)


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker is told of a run when its curve is opened."""

    sweep: str
    """Name of the sweep."""
    name: str
    """The run's directory below the sweep's folder."""
    folder: Path
    """Where the tracker may keep files of this run alone."""
    config: dict[str, Any]
    """Resolved, nested; without what the numbers do not depend on."""
    id: str
    """The same whenever this run is opened: of sweep, directory and config hash."""

    def flat_config(self) -> dict[str, Any]:
        """The config with dotted keys; values that are no numbers, truth values or text are written out."""
        import pandas as pd  # half a second that a run without a tracker need not pay

        flat = pd.json_normalize(self.config).to_dict("records")[0]
        return {str(key): value if isinstance(value, PLAIN) else str(value) for key, value in flat.items()}


class Curve(Protocol):
    """One run in a tracker."""

    epochs: int
    """How many it held when it was opened: the first epoch that it lacks."""

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """Add an epoch, which is later than all before."""

    def end(self, state: State, pictures: Mapping[str, bytes]) -> None:
        """Close it: in which state the run is, and PNG images by name."""


class Tracker(Protocol):
    """One library. Its constructor imports nothing of it, but raises UsageError where it is not installed."""

    folder: Path
    """Its local store, `outputs/<name>/tracking/<library>`."""

    def open(self, run: TrackedRun) -> Curve:
        """The run's one curve, made where there is none yet."""


def build_tracker(node: Mapping[str, Any], sweep: SweepDirectory) -> Tracker | None:
    """The tracker that `tracker=…` names, for the sweep in folder `sweep`; None for `tracker=none`.

    Raises:
        UsageError: one that is neither ours nor in a person's own package, or whose library is not installed.
    """
    if not node:
        return None
    allowed = [*targets("tracker"), *own_packages()]
    library = str(node.get("_target_")).rpartition(".")[0].rpartition(".")[2]
    return construct("tracker", node, [Tracker], allowed, folder=sweep.tracking(library))
