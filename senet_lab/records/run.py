"""The record of one run: the files of a run directory, and how to read and write them.

Every file is written whole (temporary file, fsync, rename) or grows by whole lines, so a reader in another
process, or after a kill, sees only complete records.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from filelock import FileLock, Timeout

from senet_lab.config import RunConfig
from senet_lab.errors import UsageError
from senet_lab.files import (
    TEXT_LIMIT,
    Count,
    Fraction,
    Seconds,
    cannot_read,
    find_bytes,
    find_json,
    is_there,
    make_folder,
    move,
    read_bytes,
    read_yaml,
    remove,
    typed,
    write_atomic,
)
from senet_lab.records.migrations import (
    ENVIRONMENT_FORMAT,
    current_environment,
    current_status,
    recorded_config,
)
from senet_lab.records.rows import Coefficient, Metrics, PreActivation, Row
from senet_lab.records.tables import (
    Digest,
    append_rows,
    digest,
    frame,
    has_rows,
    keep_epochs,
    read_columns,
    require_epochs,
)

if TYPE_CHECKING:
    import pandas as pd


class State(StrEnum):
    """The state of a run."""

    PLANNED = "planned"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    DIVERGED = "diverged"
    UNREADABLE = "unreadable"
    """The record cannot be read. Computed by readers, never written."""
    DAMAGED = "damaged"
    """The run ended, and its record is incomplete or was changed. Computed by readers, never written."""


FINAL = (State.FINISHED, State.DIVERGED)
"""States that another attempt would not change."""

UNUSABLE = (State.UNREADABLE, State.DAMAGED)
"""States of a run that no figure, table or page counts: it is named and left out, with exit code 1."""


@dataclass(frozen=True)
class Status:
    """A run's progress: `status.json`. Times are ISO 8601 in UTC, None before there is one."""

    state: State = State.PLANNED
    epochs_done: Count = 0
    epochs: Count | None = None
    """Requested epochs."""
    test_top1: Fraction | None = None
    """Test accuracy after the last epoch."""
    images_done: Count = 0
    """Images trained on and tested so far."""
    images_per_epoch: Count | None = None
    """Images trained on and tested in one epoch."""
    seconds: Seconds = 0.0
    """Seconds of all completed epochs, over all attempts."""
    epoch_seconds: Seconds = 0.0
    """Seconds of the current epoch so far."""
    config_hash: str | None = None
    host: str | None = None
    pid: int | None = None
    """Process id of the last attempt, on `host`."""
    started: str | None = None
    updated: str | None = None
    finished: str | None = None
    error: str | None = None
    """The reason for a failure or divergence."""
    notes: tuple[str, ...] = ()
    """Remarks for readers of its results."""
    digests: dict[str, Digest] = field(default_factory=dict)
    """Of the tables, by file name, written when the run reaches its end."""

    @property
    def message(self) -> str:
        """Error and notes, for a table."""
        return "; ".join(filter(None, [self.error, *self.notes]))

    @property
    def epochs_begun(self) -> float:
        """Completed epochs plus the finished part of the current one."""
        return self.images_done / self.images_per_epoch if self.images_per_epoch else float(self.epochs_done)


@dataclass(frozen=True)
class Git:
    """The checkout that the package ran from."""

    commit: str
    dirty: bool
    """Whether files have changed since that commit."""


@dataclass(frozen=True)
class Environment:
    """Software and hardware of one attempt at a run: an entry of `environment.json`."""

    senet_lab: str
    """Version of this package."""
    git: Git | None
    """None outside a checkout."""
    python: str
    torch: str
    device: str
    """Name of the GPU, or the processor's architecture and instructions."""
    device_type: str
    """`cpu` or `cuda`."""
    precision: str
    """Number format, `auto` resolved."""
    threads: int
    host: str
    platform: str
    source: str | None = None
    """SHA-256 of the package's code."""
    numpy: str | None = None
    data: str | None = None
    """The data set's `fingerprint`."""


@dataclass(frozen=True)
class _Attempts:
    format: int
    attempts: tuple[Environment, ...]


class _Dumper(yaml.SafeDumper):
    """YAML dumper without anchors and aliases."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


@dataclass(frozen=True)
class RunDirectory:
    """The files of one run under `path`. Reading never writes; a missing file means "not yet"."""

    path: Path
    sweep: Path | None = None
    """The sweep's folder, for a run of a sweep. No symbolic link is followed below it."""

    @property
    def root(self) -> Path:
        """The folder below which no symbolic link is followed."""
        return self.sweep or self.path

    @property
    def config_file(self) -> Path:
        """The resolved config."""
        return self.path / "config.yaml"

    @property
    def status_file(self) -> Path:
        """The run's progress."""
        return self.path / "status.json"

    @property
    def environment_file(self) -> Path:
        """Software and hardware of each attempt."""
        return self.path / "environment.json"

    @property
    def checkpoint_file(self) -> Path:
        """The last checkpoint."""
        return self.path / "checkpoint.pt"

    @property
    def metrics_file(self) -> Path:
        """One row per epoch."""
        return self.path / "metrics.csv"

    @property
    def activations_file(self) -> Path:
        """Learned coefficients, one row per epoch, site and coefficient."""
        return self.path / "activations.csv"

    @property
    def pre_activations_file(self) -> Path:
        """Distributions of pre-activations, one row per epoch, site and measure."""
        return self.path / "pre_activations.csv"

    @property
    def tables(self) -> tuple[Path, ...]:
        """`metrics.csv`, `activations.csv` and `pre_activations.csv`."""
        return self.metrics_file, self.activations_file, self.pre_activations_file

    @property
    def error_file(self) -> Path:
        """The traceback of a failed run."""
        return self.path / "error.txt"

    @property
    def figures(self) -> Path:
        """Folder of the figures that `inspect` draws."""
        return self.path / "figures"

    def plain_config(self) -> dict[str, Any]:
        """The resolved config that the run was started with, as plain values.

        Raises:
            UsageError: no config, or not one of this package.
        """
        if not is_there(self.config_file):
            raise UsageError(f"{self.config_file} is missing, so {self.path} is no run directory")
        return typed(dict[str, Any], read_yaml(self.config_file, self.root), self.config_file)

    def config(self) -> RunConfig:
        """The typed config.

        Raises:
            UsageError: see `plain_config`; a value of the wrong type or out of range.
        """
        return recorded_config(self.plain_config(), self.config_file)

    def status(self) -> Status:
        """The content of `status.json`; state `planned` before the run starts.

        Raises:
            UsageError: an invalid file.
        """
        file = self.status_file
        content = find_json(file, self.root)
        if content is None:
            return Status()
        status = typed(Status, current_status(content), file, "delete it to go on")
        if status.state in UNUSABLE:
            raise UsageError(f"{file}: no run writes the state {status.state}; delete it to go on")
        return status

    def environments(self) -> tuple[Environment, ...]:
        """Software and hardware of each attempt, in order; empty before the first.

        Raises:
            UsageError: an invalid file.
        """
        file = self.environment_file
        content = find_json(file, self.root)
        if content is None:
            return ()
        return typed(_Attempts, current_environment(content), file, "delete it to go on").attempts

    def lock(self) -> FileLock:
        """The run's lock; the system frees it when its owner dies.

        Acquiring it waits a moment, because `is_held` of another process takes it briefly.
        """
        make_folder(self.path, self.root)
        return FileLock(self.path / ".lock", timeout=0.5)

    def identity(self) -> tuple[int, int] | None:
        """Device and inode of the lock file, to detect that the directory was replaced."""
        try:
            found = (self.path / ".lock").lstat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def is_held(self) -> bool:
        """Whether a live process executes the run; readers of the record do not take each other for one."""
        file = self.path / ".lock"
        try:
            handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        except OSError:  # the system does not tell
            return True
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
        except BlockingIOError:
            return True
        except OSError:
            return _is_marked(file)
        finally:
            os.close(handle)

    def metrics(self) -> "pd.DataFrame":
        """`metrics.csv` as a frame, one row per epoch; empty before the first.

        Returns:
            The columns of `Metrics`, NaN for missing values, and columns that a later version added.

        Raises:
            UsageError: a value that is no number.
        """
        return frame(read_columns(self.metrics_file, self.root, Metrics))

    def digests(self) -> dict[str, Digest]:
        """Digests of the tables that there are, by file name."""
        contents = {file.name: self.content(file) for file in self.tables}
        return {name: digest(content) for name, content in contents.items() if content is not None}

    def content(self, table: Path) -> bytes | None:
        """A table as it was written; None if there is none.

        Raises:
            UsageError: it cannot be read.
        """
        return find_bytes(table, self.root, TEXT_LIMIT)

    def metric(self, name: str) -> list[float]:
        """A numeric column of `metrics.csv`, without pandas; see `metrics`."""
        return [float(value) for value in read_columns(self.metrics_file, self.root, Metrics)[name]]

    def activations(self) -> "pd.DataFrame":
        """`activations.csv` as a frame with the columns of `Coefficient`; empty without coefficients."""
        return frame(read_columns(self.activations_file, self.root, Coefficient))

    def pre_activations(self) -> "pd.DataFrame":
        """`pre_activations.csv` as a frame with the columns of `PreActivation`; empty if none is recorded."""
        return frame(read_columns(self.pre_activations_file, self.root, PreActivation))

    def write_config(self, plain: dict[str, Any]) -> None:
        """Write the resolved config."""
        text = yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
        write_atomic(self.config_file, text, self.root)

    def add_environment(self, environment: Environment) -> None:
        """Append this attempt's software and hardware to `environment.json`."""
        attempts = [asdict(attempt) for attempt in (*self.environments(), environment)]
        content = {"format": ENVIRONMENT_FORMAT, "attempts": attempts}
        write_atomic(self.environment_file, json.dumps(content, indent=2) + "\n", self.root)

    def write_status(self, status: Status) -> None:
        """Write `status.json`."""
        write_atomic(self.status_file, json.dumps(asdict(status), indent=2) + "\n", self.root)

    def error_trace(self) -> str | None:
        """The traceback of a failed run; None if there is none.

        Raises:
            UsageError: it cannot be read.
        """
        if not is_there(self.error_file):
            return None
        return read_bytes(self.error_file, self.root, limit=1 << 20).decode(errors="replace")

    def write_error_trace(self, trace: str) -> None:
        """Write the traceback of a failed run."""
        write_atomic(self.error_file, trace, self.root)

    def remove_error_trace(self) -> None:
        """Delete the traceback of an earlier attempt."""
        remove(self.error_file, self.root)

    def tidy(self, keep_checkpoint: bool) -> None:
        """Delete files that a finished run no longer needs."""
        if not keep_checkpoint and is_there(self.checkpoint_file):
            remove(self.checkpoint_file, self.root)

    def set_aside(self) -> str:
        """Rename checkpoint and tables of a run that starts over, so that nothing is lost.

        Returns:
            The suffix inserted before their file extension.
        """
        # The checkpoint last: while it exists, the next attempt after a kill repeats this.
        files = [*self.tables, self.checkpoint_file]
        for mark in (f"before-{number}" for number in count(1)):
            names = {file: f"{file.stem}.{mark}{file.suffix}" for file in files}
            if not any(is_there(file.with_name(name)) for file, name in names.items()):
                break
        for file in filter(is_there, files):
            move(file, names[file], self.root)
        return mark

    def keep_epochs(self, epochs: int, coefficients: int, pre_activations: int = 0) -> None:
        """Truncate the tables to the first `epochs` epochs, those that the checkpoint covers.

        Args:
            epochs: number of epochs to keep; 0 to delete the tables.
            coefficients: rows per epoch in `activations.csv`.
            pre_activations: rows per epoch, and before training, in `pre_activations.csv`.

        Raises:
            MissingRowsError: one of these epochs lacks rows; nothing is changed then.
        """
        kept = [*zip(self._covered(epochs), (1, coefficients, pre_activations), strict=True)]
        for (file, kind, number), rows in kept:
            require_epochs(file, self.root, kind, number, rows)
        for (file, kind, number), rows in kept:
            keep_epochs(file, self.root, kind, number, rows)

    def _covered(self, epochs: int) -> tuple[tuple[Path, type[Row], int], ...]:
        """Each table, the class of its rows, and its epochs after `epochs` of training."""
        return (
            (self.metrics_file, Metrics, epochs),
            (self.activations_file, Coefficient, epochs),
            (self.pre_activations_file, PreActivation, epochs and epochs + 1),  # one before training
        )

    def hashes(self) -> dict[str, str]:
        """SHA-256 of the tables that there are, by file name; a checkpoint vouches with them for its rows."""
        contents = {file.name: self.content(file) for file in self.tables}
        return {
            name: hashlib.sha256(content).hexdigest()
            for name, content in contents.items()
            if content is not None
        }

    def changed_table(self, epochs: int, hashes: Mapping[str, str]) -> Path | None:
        """The first table whose first `epochs` epochs are not those that had these `hashes`; None if all are.

        Raises:
            UsageError: a table cannot be read.
        """
        for file, kind, number in self._covered(epochs):
            if not has_rows(file, self.root, kind, number, hashes.get(file.name)):
                return file
        return None

    def append_metrics(self, row: Metrics) -> None:
        """Append one epoch's row."""
        append_rows(self.metrics_file, self.root, [row])

    def append_activations(self, rows: Sequence[Coefficient]) -> None:
        """Append one epoch's rows."""
        append_rows(self.activations_file, self.root, rows)

    def append_pre_activations(self, rows: Sequence[PreActivation]) -> None:
        """Append one epoch's rows, or those before training."""
        append_rows(self.pre_activations_file, self.root, rows)


def run_directories(folder: Path, sweep: Path | None = None) -> list[RunDirectory]:
    """The run directories at or below a folder, in path order: those with a config.

    Folders that may not be read are left out, and links are not followed.

    Args:
        folder: a run's directory, or one above several.
        sweep: see `RunDirectory`.

    Raises:
        UsageError: the system refuses to list a folder.
    """
    config = RunDirectory(folder).config_file.name
    files, ahead = [], [folder]
    while ahead:  # `rglob` ends in a RecursionError where folders are nested a thousand deep
        here = ahead.pop()
        try:
            with os.scandir(here) as entries:
                for entry in entries:
                    if entry.name == config:
                        files.append(here / config)
                    if entry.is_dir(follow_symlinks=False):
                        ahead.append(here / entry.name)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue
        except OSError as error:
            raise cannot_read(here, error) from error
    return [RunDirectory(file.parent, sweep) for file in sorted(files)]


def _is_marked(file: Path) -> bool:
    """Whether filelock's marker file of a live process is there: on a file system without `flock`."""
    try:
        with FileLock(file, timeout=0):
            return False
    except (Timeout, OSError):
        return True
