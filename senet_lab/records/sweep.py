"""The folder of a sweep; no other module knows its file names."""

import os
import shlex
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from senet_lab.config import TrainConfig, is_folder_name
from senet_lab.errors import UsageError
from senet_lab.records.locks import wait_for
from senet_lab.records.run import RunDirectory, run_directories

MOST_CHARACTERS = 3000
"""Maximal length of a run's directory relative to the sweep; the system takes 4,095 bytes in all."""


@dataclass(frozen=True)
class SweepDirectory:
    """The files of a sweep under `path`. None of them stores that path, so the folder can be moved."""

    path: Path
    """`outputs/<name>`, or wherever the folder was moved."""

    @property
    def name(self) -> str:
        """The sweep's name."""
        return self.path.name

    @property
    def words(self) -> str:
        """The words of a command that choose this sweep: `name=`, and `outputs=` if it is not the default."""
        outputs = str(self.path.parent)
        place = [] if outputs == TrainConfig.outputs else [f"outputs={outputs}"]
        return shlex.join([f"name={self.name}", *place])

    @property
    def plan_file(self) -> Path:
        """The frozen runs."""
        return self.path / "plan.json"

    def plan_lock(self) -> AbstractContextManager[None]:
        """Lock for reading and extending the plan; see `wait_for`."""
        return wait_for(self.path / ".plan.lock")

    @property
    def runs(self) -> Path:
        """Folder of the run directories."""
        return self.path / "runs"

    def run(self, directory: str) -> RunDirectory:
        """The record of a run, by its directory relative to this folder."""
        return RunDirectory(self.path / directory, self.path)

    def find_runs(self) -> dict[str, RunDirectory]:
        """Every run directory with a config, by its path relative to this folder, in path order."""
        found = run_directories(self.runs, self.path)
        return {run.path.relative_to(self.path).as_posix(): run for run in found}

    @property
    def figures(self) -> Path:
        """Output folder of `plot`."""
        return self.path / "figures"

    @property
    def report_file(self) -> Path:
        """The page that `report` writes."""
        return self.path / "report.html"

    @property
    def verdict_file(self) -> Path:
        """Table of the differences that `verdict` finds."""
        return self.path / "verdict.csv"

    @property
    def verdict_json(self) -> Path:
        """Machine-readable verdict."""
        return self.path / "verdict.json"

    @property
    def verdict(self) -> Path:
        """Folder of the other tables and texts of `verdict`."""
        return self.path / "verdict"

    def compare(self, against: str) -> Path:
        """Output folder of `compare against=…`."""
        return self.path / "compare" / against

    def tracking(self, library: str) -> Path:
        """Local store of a tracker."""
        return self.path / "tracking" / library

    @property
    def jobs(self) -> Path:
        """Logs of a cluster scheduler's jobs, a folder for each command."""
        return self.path / "jobs"


def sweep_directory(outputs: str, name: str) -> SweepDirectory:
    """`outputs/<name>`.

    Raises:
        UsageError: a symbolic link leads out of `outputs`.
    """
    require_inside(Path(outputs), name)
    return SweepDirectory(Path(outputs) / name)


def is_run(directory: str) -> bool:
    """Whether a relative path is one that a run can have: below `runs`, and nowhere else."""
    first, *parts = directory.split("/")
    is_short = len(directory) <= MOST_CHARACTERS
    return is_short and first == "runs" and bool(parts) and all(map(is_folder_name, parts))


def require_inside(folder: Path, *names: str) -> None:
    """Raise UsageError if one of `folder`/`name` leads out of `folder` by a symbolic link."""
    # Not `Path.resolve`, which raises RuntimeError for links that lead to each other.
    inside = os.path.realpath(folder)
    paths = [f"{folder}/{name}" for name in names]
    # Thousands of runs share their parents, below which only their own folders can be links.
    for path in {*map(os.path.dirname, paths), *filter(os.path.islink, paths)}:
        target = os.path.realpath(path)
        if os.path.commonpath([inside, target]) != inside:
            raise UsageError(f"{path} leads out of {folder}, to {target}: nothing was written there")
