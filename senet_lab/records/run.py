"""The record of one run: which files a run directory holds, and how they are written and read.

Every file is written whole (temporary file, fsync, rename) or grows by one full line at a time, so a
reader in another process, or after a kill, sees only complete records.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from filelock import FileLock, Timeout

from senet_lab.errors import UsageError
from senet_lab.files import append_lines, read_yaml, write_atomic

if TYPE_CHECKING:
    import pandas as pd

METRICS_COLUMNS = (
    "epoch",
    "lr",
    "train_loss",
    "train_top1",
    "test_loss",
    "test_top1",
    "test_top5",
    "seconds",
)
ACTIVATIONS_COLUMNS = ("epoch", "site", "alpha", "beta")


class State(StrEnum):
    """Where a run stands."""

    PLANNED = "planned"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    DIVERGED = "diverged"


class MissingRowsError(Exception):
    """A record that lacks rows which a checkpoint says were written."""


class _Dumper(yaml.SafeDumper):
    """Writes equal values out each time."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


@dataclass(frozen=True)
class RunDirectory:
    """The files of one run under `path`. Reading never writes; a missing file reads as "not yet"."""

    path: Path

    @property
    def checkpoint_file(self) -> Path:
        """The last epoch boundary that is safely down."""
        return self.path / "checkpoint.pt"

    @property
    def metrics_file(self) -> Path:
        """One row an epoch."""
        return self.path / "metrics.csv"

    @property
    def activations_file(self) -> Path:
        """Learned coefficients, a row for each epoch and site."""
        return self.path / "activations.csv"

    @property
    def error_file(self) -> Path:
        """The traceback of a failed run."""
        return self.path / "error.txt"

    def config(self) -> dict[str, Any]:
        """The resolved config that the run was started with.

        Raises:
            UsageError: where there is none, or none that this package wrote.
        """
        file = self.path / "config.yaml"
        if not file.exists():
            raise UsageError(f"{file} is missing, so {self.path} is no run directory")
        return read_yaml(file)

    def status(self) -> dict[str, Any]:
        """`status.json`, or the state `planned` where no process has begun the run.

        Raises:
            UsageError: a file that is no status.
        """
        file = self.path / "status.json"
        try:
            status = json.loads(file.read_text("utf-8"))
            return {**status, "state": State(status["state"]), "epochs_done": int(status["epochs_done"])}
        except FileNotFoundError:
            return {"state": State.PLANNED, "epochs_done": 0}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{file} is not the status of a run: {error}; delete it to go on") from error

    def environment(self) -> dict[str, Any]:
        """Versions, device and source of the last attempt; empty before the first.

        Raises:
            UsageError: a file that is no such record.
        """
        file = self.path / "environment.json"
        try:
            return dict(json.loads(file.read_text("utf-8")))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError) as error:
            raise UsageError(f"{file} does not tell an environment: {error}; delete it to go on") from error

    def lock(self) -> FileLock:
        """What the process that executes the run holds; the system frees it when that process dies.

        Waits a moment, because a reader may be looking whether it is held.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        return FileLock(self.path / ".lock", timeout=0.5)

    def is_held(self) -> bool:
        """Whether a living process executes the run."""
        file = self.path / ".lock"
        if not file.exists():
            return False  # and to look does not make one
        try:
            with FileLock(file, timeout=0):
                return False
        except Timeout:
            return True
        except OSError:
            return True  # another user's, or on a read-only disk, where none can be had: believe the status

    def metrics(self) -> "pd.DataFrame":
        """`metrics.csv` as a frame with `METRICS_COLUMNS`, one row an epoch; empty before the first.

        Raises:
            UsageError: where a column is missing or a value is no number.
        """
        return _read_csv(self.metrics_file, METRICS_COLUMNS, text=())

    def activations(self) -> "pd.DataFrame":
        """`activations.csv` as a frame with `ACTIVATIONS_COLUMNS`; empty where nothing is learned."""
        return _read_csv(self.activations_file, ACTIVATIONS_COLUMNS, text=("site",))

    def write_config(self, config: dict[str, Any]) -> None:
        """Write the resolved config."""
        text = yaml.dump(config, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
        write_atomic(self.path / "config.yaml", text)

    def write_environment(self, environment: dict[str, Any]) -> None:
        """Write versions, device and source of this attempt."""
        write_atomic(self.path / "environment.json", json.dumps(environment, indent=2) + "\n")

    def write_status(self, status: dict[str, Any]) -> None:
        """Write `status.json`."""
        write_atomic(self.path / "status.json", json.dumps(status, indent=2) + "\n")

    def keep_epochs(self, epochs: int, sites: int) -> None:
        """Leave the rows of the first `epochs` epochs, which is what a checkpoint vouches for.

        A row that is there twice, or torn, or of a later epoch, goes; the last one of an epoch counts.

        Args:
            epochs: how many.
            sites: rows that an epoch has in `activations.csv`.

        Raises:
            MissingRowsError: where one of these epochs lacks rows.
            UsageError: where the header is another one.
        """
        metrics = _rows_by_epoch(self.metrics_file, METRICS_COLUMNS)
        coefficients = _rows_by_epoch(self.activations_file, ACTIVATIONS_COLUMNS)
        for file, rows, count in (
            (self.metrics_file, metrics, 1),
            (self.activations_file, coefficients, sites),
        ):
            if any(len(rows.get(epoch, {})) != count for epoch in range(epochs)):
                raise MissingRowsError(f"{file} lacks rows of epochs before {epochs}")
        for file, columns, rows in (
            (self.metrics_file, METRICS_COLUMNS, metrics),
            (self.activations_file, ACTIVATIONS_COLUMNS, coefficients),
        ):
            kept = "".join(line for epoch in range(epochs) for line in rows.get(epoch, {}).values())
            if kept:
                write_atomic(file, ",".join(columns) + "\n" + kept)
            else:
                file.unlink(missing_ok=True)

    def append_metrics(self, row: Sequence[float]) -> None:
        """Add one epoch's row, in the order of `METRICS_COLUMNS`."""
        _append_rows(self.metrics_file, METRICS_COLUMNS, [row])

    def append_activations(self, rows: Sequence[Sequence[Any]]) -> None:
        """Add one epoch's rows, in the order of `ACTIVATIONS_COLUMNS`."""
        _append_rows(self.activations_file, ACTIVATIONS_COLUMNS, rows)


def find_runs(sweep: Path) -> list[RunDirectory]:
    """Every run directory with a config below `sweep`/runs, in path order."""
    return [RunDirectory(file.parent) for file in sorted((sweep / "runs").rglob("config.yaml"))]


def _append_rows(file: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Append whole lines in one write, with the header before the first."""
    text = "".join(",".join(_cell(value) for value in row) + "\n" for row in rows)
    if file.exists():
        append_lines(file, text)
    else:
        write_atomic(file, ",".join(columns) + "\n" + text)


def _rows_by_epoch(file: Path, columns: Sequence[str]) -> dict[int, dict[str, str]]:
    """The lines of each epoch, by site where the file has such."""
    rows: dict[int, dict[str, str]] = {}
    if file.exists():
        header, *lines = _whole_lines(file).splitlines(keepends=True) or [""]
        if header.strip() != ",".join(columns):
            raise UsageError(f"{file} does not have the header {','.join(columns)}: move it away")
        for line in lines:
            cells = line.split(",")
            if len(cells) == len(columns) and cells[0].isdecimal():
                site = cells[1] if "site" in columns else ""
                rows.setdefault(int(cells[0]), {})[site] = line
    return rows


def _cell(value: Any) -> str:
    """Shortest text that reads back as the same number, whatever the locale."""
    return repr(value) if isinstance(value, float) else str(value)


def _whole_lines(file: Path) -> str:
    """The file's text up to its last line break: a torn last line never happened."""
    text = file.read_text("utf-8")
    return text[: text.rfind("\n") + 1]


def _read_csv(file: Path, columns: Sequence[str], text: Sequence[str]) -> "pd.DataFrame":
    """Read by hand, because float() gives back the very number that `repr` wrote, and pandas takes longer."""
    import pandas as pd  # half a second that those who only write records need not pay

    if not file.exists():
        return pd.DataFrame({name: pd.Series(dtype=object if name in text else float) for name in columns})
    header, *lines = _whole_lines(file).splitlines() or [""]
    names = header.split(",")
    missing = [name for name in columns if name not in names]
    if missing:
        raise UsageError(
            f"{file} lacks the column {', '.join(missing)}; its header should be {','.join(columns)}"
        )
    rows = [line.split(",") for line in lines]
    for number, row in enumerate(rows, start=2):
        if len(row) != len(names):
            raise UsageError(f"{file} has {len(row)} cells in line {number}, where {len(names)} belong")
    values: dict[str, list[Any]] = {}
    for name in columns:
        cells = [row[names.index(name)] for row in rows]
        kind = str if name in text else int if name == "epoch" else float
        try:
            values[name] = [kind(cell) for cell in cells]
        except ValueError as error:
            raise UsageError(f"{file}, column {name}: {error}") from error
    return pd.DataFrame(values)
