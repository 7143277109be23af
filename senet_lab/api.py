"""The Python API: the command line's verbs as functions that return frames and figures."""

import warnings
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from senet_lab.composition.command import Command, compose_command
from senet_lab.composition.overrides import is_swept
from senet_lab.config import ReportConfig
from senet_lab.errors import UsageError
from senet_lab.records.figures import planned_config
from senet_lab.records.sweep import SweepDirectory
from senet_lab.runs.progress import transient_progress
from senet_lab.text import plain

if TYPE_CHECKING:
    import pandas as pd

    from senet_lab.analysis.frames import Frames
    from senet_lab.analysis.grouping import Panel
    from senet_lab.analysis.results import Results
    from senet_lab.analysis.runs import Recorded
    from senet_lab.figures.drawings import Figure


def compose(*overrides: str, config_dir: str | Path | None = None) -> Command:
    """Compose the runs of a command line, without executing anything.

    Args:
        overrides: as after `senet-lab train`, in Hydra's syntax; several values of a key make a sweep.
        config_dir: a folder of one's own YAML, beside `conf/`.

    Returns:
        The command; each of its `points` has a run's typed config and directory.

    Raises:
        UsageError: an unknown key or option, a value of the wrong type or out of range.
    """
    return compose_command("train", overrides, multirun=is_swept(overrides), config_dir=config_dir)


def train(*overrides: str, config_dir: str | Path | None = None) -> "Sweep":
    """Execute the runs of a command line, as `senet-lab train` does.

    Finished runs stay as they are; unfinished ones resume from their last checkpoint. Ctrl-C stops after the
    current step; the same call resumes.

    Args:
        overrides: as after `senet-lab train`; `hydra/launcher=serial` keeps the work in this process.
        config_dir: a folder of one's own YAML, beside `conf/`.

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
    return Sweep(session.survey.sweep, compose_command("report", overrides, config_dir=config_dir))


def open_sweep(path: str | Path, *overrides: str) -> "Sweep":
    """Open the folder of a sweep, which may have been moved; nothing in it is changed.

    Args:
        path: the sweep's folder.
        overrides: as after `senet-lab report`; `experiment=…` or `figures.line=…` define how runs are grouped
            into figures and lines, by default as the sweep was planned.
    """
    return Sweep(SweepDirectory(Path(path)), compose_command("report", overrides))


class Sweep:
    """A sweep's records as tidy frames and figures, read on first use; `refresh` reads again.

    Args:
        directory: the sweep's folder.
        command: defines how runs are grouped into figures and lines, and their published values.
    """

    def __init__(self, directory: SweepDirectory, command: Command) -> None:
        self.directory = directory
        self._command = command

    def __repr__(self) -> str:
        counts = self.runs["state"].value_counts()
        states = ", ".join(f"{count} {state}" for state, count in counts.items())
        return f"Sweep({str(self.directory.path)!r}: {len(self.runs)} runs, {states})"

    def refresh(self) -> "Sweep":
        """Read the records again at the next use, to see the newest epochs."""
        for name in ("_records", "_frames", "_panels"):
            self.__dict__.pop(name, None)
        return self

    @cached_property
    def _config(self) -> ReportConfig:
        return planned_config(self._command, self.directory)

    @cached_property
    def _records(self) -> "list[Recorded]":
        from senet_lab.analysis.runs import read_records

        with transient_progress() as progress:
            task = progress.add_task(f"reading {self.directory.name}", total=None)
            return read_records(
                self.directory, lambda read, of: progress.update(task, completed=read, total=of)
            )

    @cached_property
    def _frames(self) -> "Frames":
        from senet_lab.analysis.frames import frames

        return frames(self._records)

    @cached_property
    def _panels(self) -> "list[Panel]":
        from senet_lab.analysis.grouping import group
        from senet_lab.analysis.runs import whole_runs

        others = [one for one in self._records if not one.is_whole]
        if others:
            first = plain(f"{others[0].directory} is {others[0].status.state}: {others[0].status.error}")
            warnings.warn(f"{len(others)} runs are left out: {first}", stacklevel=3)
        return group(whole_runs(self._records), self._config.figures)

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

    def curves(self, metric: str = "test_error") -> "pd.DataFrame":
        """Mean and spread over the seeds of each line, one row per epoch.

        Args:
            metric: a column of the record, `1-` and a column, or an error such as `test_error`.

        Returns:
            `figure`, `line`, `epoch`, `n`, `mean`, `std`, `sem`, `low` and `high` (95 % t interval), and the
            `seconds` and `images` so far.

        Raises:
            UsageError: no such metric.
        """
        return self._results(metric).curves

    def final(self, metric: str = "test_error") -> "pd.DataFrame":
        """The last epoch of each line, with intervals, best epoch and published values, if any.

        Raises:
            UsageError: no such metric.
        """
        from senet_lab.analysis.statistics import with_statistics

        result = self._results(metric)
        return with_statistics(result.finals, result.curves, result.metric)

    def pairwise(self, metric: str = "test_error") -> "pd.DataFrame":
        """Pairwise comparison of the lines of each figure: difference, interval, p after Holm.

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
        """One figure; it shows itself in Jupyter, and `save` writes HTML, PNG, SVG or PDF.

        Args:
            name: one of `figures`.
            metric: see `curves`.
            x: `epoch`, `seconds` or `images`.
            band: around the means: `std`, `sem` or `none`.
            reference: draw published curves, too.

        Raises:
            UsageError: no such figure or metric, or no epoch to draw.
        """
        from senet_lab.config import Band, XAxis
        from senet_lab.figures.axes import Axes
        from senet_lab.figures.drawings import Figure, draw_panels
        from senet_lab.figures.style import looks_of

        panels = [panel for panel in self._panels if panel.name == name]
        if not panels:
            raise UsageError(f"{name}: no such figure here; there is {', '.join(self.figures)}")
        result = self._results(metric)
        axes = Axes(result.metric, XAxis(x))
        drawn = draw_panels(panels, looks_of(self._panels), axes, result, Band(band), reference)
        if not drawn:
            raise UsageError(f"{name}: no run has recorded {metric} yet")
        return Figure(*drawn.popitem())

    def report(self) -> Path:
        """Write `report.html`, one page with all results, into the sweep's folder; returns its path."""
        from senet_lab.figures.report import write_report

        return write_report(self.directory, self._config, "senet_lab.open_sweep(…).report()")
