"""What a tracker is asked for: one curve a run, opened, continued, ended."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from senet_lab.errors import UsageError
from senet_lab.records.run import State
from senet_lab.records.sweep import SweepDirectory

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
        UsageError: one that is not this package's, or whose library is not installed.
    """
    if not node:
        return None
    module, _, name = str(node.get("_target_")).rpartition(".")
    package, _, library = module.rpartition(".")
    if package != "senet_lab.trackers" or find_spec(module) is None or len(node) > 1:
        raise UsageError(f"tracker: {dict(node)} is not of senet-lab; use none, tensorboard, mlflow or wandb")
    return getattr(import_module(module), name)(sweep.tracking(library))
