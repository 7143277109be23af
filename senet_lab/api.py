"""The Python API: what the command line does, as functions that return frames and figures."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress

from senet_lab.compose import Command, compose_command
from senet_lab.overrides import is_swept
from senet_lab.records.sweep import SweepDirectory

if TYPE_CHECKING:
    import pandas as pd

    from senet_lab.analysis.frames import Frames


def compose(*overrides: str, config_dir: str | Path | None = None) -> Command:
    """Compose the runs that overrides stand for, without executing anything.

    Args:
        overrides: as after `senet-lab train`, in Hydra's syntax; several values of a key make a sweep.
        config_dir: a folder of one's own YAML, beside `conf/`.

    Returns:
        Its `points` have a run's typed config and its directory each.

    Raises:
        UsageError: an unknown key or option, a value of the wrong type or out of range.
    """
    folder = None if config_dir is None else Path(config_dir)
    return compose_command("train", overrides, multirun=is_swept(overrides), config_dir=folder)


def train(*overrides: str, config_dir: str | Path | None = None) -> "Sweep":
    """Bring the runs that overrides stand for to their end, as `senet-lab train` does.

    A run that is finished already stays as it is; an unfinished one goes on from its last checkpoint.
    Ctrl-C ends the work at the next step, and the same call goes on.

    Args:
        overrides: as after `senet-lab train`; `hydra/launcher=serial` keeps the work in this process.
        config_dir: a folder of one's own YAML, beside `conf/`.

    Returns:
        The sweep, with whatever states its runs came to.

    Raises:
        UsageError: before any run starts.
        KeyboardInterrupt: interrupted.
    """
    from senet_lab.runs.planning import request_runs
    from senet_lab.session import train_runs

    command = compose(*overrides, config_dir=config_dir)
    session = train_runs(command, lambda: request_runs(command, overrides), Console())
    if session.signal_number is not None:
        raise KeyboardInterrupt(session.signal_number)
    return Sweep(session.survey.sweep)


def open_sweep(path: str | Path) -> "Sweep":
    """Open the folder of a sweep, wherever it was moved; nothing in it is changed.

    Raises:
        UsageError: no runs in it.
    """
    return Sweep(SweepDirectory(Path(path)))


class Sweep:
    """A sweep's records as tidy frames and figures, read when first asked for; `refresh` reads again."""

    def __init__(self, directory: SweepDirectory) -> None:
        self.directory = directory

    def __repr__(self) -> str:
        counts = self.runs["state"].value_counts()
        states = ", ".join(f"{count} {state}" for state, count in counts.items())
        return f"Sweep({str(self.directory.path)!r}: {len(self.runs)} runs, {states})"

    def refresh(self) -> "Sweep":
        """Forget what was read, so that a sweep under way shows its newest epochs."""
        for name in ("_frames",):
            self.__dict__.pop(name, None)
        return self

    @cached_property
    def _frames(self) -> "Frames":
        from senet_lab.analysis.frames import read_frames

        with _progress() as progress:
            task = progress.add_task(f"reading {self.directory.name}", total=None)
            return read_frames(
                self.directory, lambda read, of: progress.update(task, completed=read, total=of)
            )

    @property
    def runs(self) -> "pd.DataFrame":
        """A row a run, by its directory: the axes of the sweep, its state, the last epoch's values."""
        return self._frames.runs

    @property
    def metrics(self) -> "pd.DataFrame":
        """A row a run and epoch: `run`, the axes of the sweep, and the columns of `metrics.csv`."""
        return self._frames.metrics


@contextmanager
def _progress() -> Iterator[Progress]:
    """A progress bar that goes when the work is done; plain output stays free of it."""
    console = Console()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        yield progress
