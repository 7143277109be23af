"""The Python API: the verbs of the command line as functions that return frames and figures."""

import warnings
from dataclasses import replace
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console

from senet_lab.composition.command import Command, compose_command
from senet_lab.composition.overrides import is_swept
from senet_lab.config import Band, ReportConfig, XAxis
from senet_lab.errors import UsageError
from senet_lab.records.figures import planned_config
from senet_lab.records.sweep import SweepDirectory
from senet_lab.runs.progress import transient_progress
from senet_lab.text import counted, plain

if TYPE_CHECKING:
    import pandas as pd

    from senet_lab.analysis.frames import Frames
    from senet_lab.analysis.grouping import Panel
    from senet_lab.analysis.results import Results
    from senet_lab.analysis.runs import Recorded, Run
    from senet_lab.figures.drawings import Figure

E = TypeVar("E", bound=StrEnum)


def compose(*overrides: str, config_dir: str | Path | None = None) -> Command:
    """Compose the runs of a command line, without executing anything.

    Args:
        overrides: as after `senet-lab train`, in Hydra's syntax; several values of a key make a sweep.
        config_dir: the user's own folder of YAML, in addition to `conf/`.

    Returns:
        The command; each of its `points` holds a run's typed config and directory.

    Raises:
        UsageError: an unknown key or option, a value of the wrong type or out of range.
    """
    return compose_command("train", overrides, multirun=is_swept(overrides), config_dir=config_dir)


def train(*overrides: str, config_dir: str | Path | None = None) -> "Sweep":
    """Execute the runs of a command line, as `senet-lab train` does.

    Finished runs are skipped; unfinished ones resume from their last checkpoint. Ctrl-C stops after the
    current step; the same call resumes.

    Args:
        overrides: as after `senet-lab train`; `hydra/launcher=serial` keeps the work in this process.
        config_dir: the user's own folder of YAML, in addition to `conf/`.

    Returns:
        The sweep, whatever the states of its runs.

    Raises:
        UsageError: before any run starts.
        KeyboardInterrupt: interrupted.
    """
    from senet_lab.session import train_command

    command = compose(*overrides, config_dir=config_dir)
    session = train_command(command, Console())
    if session.signal_number is not None:
        raise KeyboardInterrupt(session.signal_number)
    shown = compose_command("report", overrides, config_dir=config_dir)
    return Sweep(session.survey.sweep, replace(shown, selection={}))


def open_sweep(path: str | Path, *overrides: str) -> "Sweep":
    """Open the folder of a sweep, which may have been moved, for reading.

    Args:
        path: the sweep's folder.
        overrides: as after `senet-lab report`. Values of runs, such as `activation=tact`, select runs;
            `experiment=…` or `figures.line=…` change how runs are grouped into figures and lines; by default
            as in the sweep's plan.

    Raises:
        UsageError: an unknown key or option; at the first use of its records, no run or no selected run.
    """
    return Sweep(SweepDirectory(Path(path)), compose_command("report", overrides))


class Sweep:
    """A sweep's records as tidy frames and figures, read on first use; `refresh` reads again.

    Args:
        directory: the sweep's folder.
        command: defines which runs are selected, how they are grouped into figures and lines, and their
            published values.
    """

    def __init__(self, directory: SweepDirectory, command: Command) -> None:
        self.directory = directory
        self._command = command

    def __repr__(self) -> str:
        counts = self.runs["state"].value_counts()
        states = ", ".join(f"{count} {state}" for state, count in counts.items())
        return f"Sweep({str(self.directory.path)!r}: {counted(len(self.runs), 'run')}, {states})"

    def refresh(self) -> "Sweep":
        """Discard the records read so far; the next use reads the newest epochs."""
        for name in ("_config", "_records", "_frames", "_usable_runs", "_panels"):
            self.__dict__.pop(name, None)
        return self

    @cached_property
    def _config(self) -> ReportConfig:
        return planned_config(self._command, self.directory)

    @cached_property
    def _records(self) -> "list[Recorded]":
        from senet_lab.analysis.runs import read_records, selected

        with transient_progress() as progress:
            task = progress.add_task(f"reading {self.directory.name}", total=None)
            records = read_records(
                self.directory, lambda read, of: progress.update(task, completed=read, total=of)
            )
        return selected(records, self._command.selection)

    @cached_property
    def _frames(self) -> "Frames":
        from senet_lab.analysis.frames import frames

        return frames(self._records)

    @cached_property
    def _usable_runs(self) -> "list[Run]":
        """The runs of figures and report; a warning names the first that they leave out."""
        from senet_lab.analysis.runs import left_out, usable_runs

        others = left_out(self._records)
        if others:
            directory, status = next(iter(others.items()))
            first = plain(f"{directory} is {status.state}: {status.error}")
            warnings.warn(f"{counted(len(others), 'run')} left out: {first}", stacklevel=3)
        return usable_runs(self._records)

    @cached_property
    def _panels(self) -> "list[Panel]":
        from senet_lab.analysis.grouping import group

        return group(self._usable_runs, self._config.figures)

    def _results(self, metric: str) -> "Results":
        from senet_lab.analysis.metrics import find_metric
        from senet_lab.analysis.results import results

        return results(self._panels, find_metric(metric, self.metrics.columns), self._config.published)

    @property
    def runs(self) -> "pd.DataFrame":
        """One row per run, indexed by its directory: the sweep's axes, the state, the last epoch's values."""
        return self._frames.runs

    @property
    def metrics(self) -> "pd.DataFrame":
        """One row per run and epoch: `run`, the sweep's axes, and the columns of `metrics.csv`."""
        return self._frames.metrics

    @property
    def pre_activations(self) -> "pd.DataFrame":
        """One row per run, epoch, site and measure, of runs with `pre_activations=true`.

        `run`, the columns of `pre_activations.csv`, and the sweep's axes. `epoch` counts epochs done: 0 is
        before training.
        """
        from senet_lab.analysis.frames import pre_activations

        return pre_activations(self._records)

    def curves(self, metric: str = "test_error") -> "pd.DataFrame":
        """Mean and spread over the seeds of each line, one row per epoch.

        Args:
            metric: a column of `metrics.csv`, `1-` and a column, or an error such as `test_error`.

        Returns:
            `figure`, `line`, `epoch`, `n`, `mean`, `std`, `sem`, `low` and `high` (95 % t interval), and the
            `seconds` and `images` so far.

        Raises:
            UsageError: no such metric.
        """
        return self._results(metric).curves

    def final(self, metric: str = "test_error") -> "pd.DataFrame":
        """The last epoch of each line, with intervals, best epoch and published values, if any.

        Args:
            metric: see `curves`.

        Returns:
            A row a line; the columns of `analysis.statistics.with_statistics`.

        Raises:
            UsageError: no such metric.
        """
        from senet_lab.analysis.statistics import with_statistics

        result = self._results(metric)
        return with_statistics(result.finals, result.curves, result.metric)

    def pairwise(self, metric: str = "test_error") -> "pd.DataFrame":
        """Pairwise comparison of the lines of each figure: difference, interval, p after Holm.

        Args:
            metric: see `curves`.

        Returns:
            A row a pair; the columns of `analysis.statistics.pairwise`.

        Raises:
            UsageError: no such metric.
        """
        from senet_lab.analysis.statistics import pairwise

        return pairwise(self._results(metric).runs)

    @property
    def figures(self) -> list[str]:
        """The names of the sweep's figures."""
        return [panel.name for panel in self._panels]

    def figure(
        self,
        name: str,
        metric: str = "test_error",
        x: str = "epoch",
        band: str = "std",
        reference: bool = False,
    ) -> "Figure":
        """One figure, with display in Jupyter; its `save` writes HTML, PNG, SVG or PDF.

        Scale and range of its y axis are the sweep's: `figures.y_scale` and `figures.y_range`.

        Args:
            name: one of `figures`.
            metric: see `curves`.
            x: `epoch`, `seconds` or `images`.
            band: around the means: `std`, `sem` or `none`.
            reference: draw published curves, too.

        Raises:
            UsageError: no such figure, metric, x axis or band; no epoch to draw.
        """
        from senet_lab.figures.axes import axes_of
        from senet_lab.figures.drawings import Figure, draw_panels
        from senet_lab.figures.style import looks_of

        panels = [panel for panel in self._panels if panel.name == name]
        if not panels:
            raise UsageError(f"{name}: no such figure here; there is {', '.join(self.figures)}")
        kind, figures = _option(Band, "band", band), self._config.figures
        (axes,) = axes_of(replace(figures, metric=metric, x=_option(XAxis, "x", x)), self._panels)
        drawn = draw_panels(panels, looks_of(self._panels), axes, self._results(metric), kind, reference)
        if not drawn:
            raise UsageError(f"{name}: no run has recorded {metric} yet")
        return Figure(*drawn.popitem())

    def report(self) -> Path:
        """Write `report.html`, one page with all results, into the sweep's folder; returns its path."""
        from senet_lab.analysis.runs import left_out
        from senet_lab.figures.report import write_report

        runs, others = self._usable_runs, left_out(self._records)
        made_by = "senet_lab.open_sweep(…).report()"
        return write_report(self.directory, runs, others, self._config, made_by)


def _option(kind: type[E], key: str, value: str) -> E:
    """The member of an enum that an argument names."""
    if value not in list(kind):
        raise UsageError(f"{key}={value}: {key} must be one of {', '.join(kind)}")
    return kind(value)
