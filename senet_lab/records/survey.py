"""Where a sweep stands, read from its run directories alone: by whom it is run does not matter."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from senet_lab.records.run import RunDirectory, State
from senet_lab.records.plan import PlannedRun

FINAL = (State.FINISHED, State.DIVERGED)
"""States that running again would not change."""


@dataclass
class Survey:
    """The status of each run, read again on `refresh`, but not once a run is at its end."""

    sweep: Path
    runs: Sequence[PlannedRun]
    statuses: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By run directory."""

    def refresh(self) -> "Survey":
        """Read what may have changed."""
        for run in self.runs:
            if self.statuses.get(run.directory, {}).get("state") not in FINAL:
                self.statuses[run.directory] = living_status(RunDirectory(self.sweep / run.directory))
        return self

    def with_state(self, *states: State) -> list[PlannedRun]:
        """The runs in one of `states`, in plan order."""
        return [run for run in self.runs if self.statuses[run.directory]["state"] in states]

    def without_state(self, *states: State) -> list[PlannedRun]:
        """The runs in none of `states`, in plan order."""
        return [run for run in self.runs if self.statuses[run.directory]["state"] not in states]

    def counts(self) -> Counter[State]:
        """Runs by state."""
        return Counter(status["state"] for status in self.statuses.values())

    def epochs(self) -> tuple[float, int]:
        """Epochs done, the parts of those under way counted in, and epochs asked for."""
        done = sum(map(_epochs_done, self.statuses.values()))
        return done, sum(run.config["epochs"] for run in self.runs)

    def images(self) -> int:
        """Images trained on and tested so far."""
        return sum(status.get("images_done", 0) for status in self.statuses.values())

    def seconds_left(self, workers: int) -> float | None:
        """What the remaining epochs take `workers` at a time, from the epochs so far of each model.

        Parts of epochs count on both sides; None as long as there is not even such a part.
        """
        seconds: Counter[str] = Counter()
        epochs: dict[str, float] = defaultdict(float)
        for run in self.runs:
            model, status = run.config["model"]["name"], self.statuses[run.directory]
            seconds[model] += status.get("seconds", 0.0) + status.get("epoch_seconds", 0.0)
            epochs[model] += _epochs_done(status)
        if not any(epochs.values()):
            return None
        mean = seconds.total() / sum(epochs.values())
        left = 0.0
        for run in self.runs:
            model, status = run.config["model"]["name"], self.statuses[run.directory]
            if status["state"] not in FINAL:
                per_epoch = seconds[model] / epochs[model] if epochs[model] else mean
                left += per_epoch * (run.config["epochs"] - _epochs_done(status))
        return left / workers


def _epochs_done(status: Mapping[str, Any]) -> float:
    """Epochs of a run, the part of the one under way counted in."""
    per_epoch = status.get("images_per_epoch")
    return status["images_done"] / per_epoch if per_epoch else status["epochs_done"]


def living_status(directory: RunDirectory) -> dict[str, Any]:
    """The status of a run; one that says `running` and whose process is dead is `interrupted`."""
    status = directory.status()
    if status["state"] is not State.RUNNING or directory.is_held():
        return status
    status = directory.status()  # again: it may have ended while we looked
    if status["state"] is State.RUNNING:
        owner = f"process {status.get('pid')} on {status.get('host')}"
        status |= {"state": State.INTERRUPTED, "error": f"{owner} ended without a word"}
    return status
