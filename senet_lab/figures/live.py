"""Live view of a running sweep: one reader of its records, and sections drawn once for all viewers."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from bokeh.embed import json_item

from senet_lab.analysis.curves import curves, finals, states, values
from senet_lab.analysis.grouping import Panel, group, with_runs
from senet_lab.analysis.runs import Run, read_run, run_without_epochs
from senet_lab.background import Background
from senet_lab.config import Band, FiguresConfig
from senet_lab.errors import UsageError
from senet_lab.figures.axes import Axes, axes_of, require_curves
from senet_lab.figures.page import Section, render_section, table, time_cell
from senet_lab.figures.sections import figure_section
from senet_lab.figures.style import Look, looks_of
from senet_lab.records.plan import Plan, PlannedRun, read_plan
from senet_lab.records.run import FINAL, State, Status
from senet_lab.records.selection import Selection, select
from senet_lab.records.survey import Survey, checked_status
from senet_lab.records.sweep import SweepDirectory
from senet_lab.text import clock, counted

POLL_SECONDS = 1.0
"""Polling interval, seconds."""
POLL_SHARE = 0.2
"""Maximal share of time spent polling, so that the sweep keeps the machine."""
IDLE_SECONDS = 10.0
"""Seconds after the last request until polling pauses."""
TROUBLE = (State.FAILED, State.DIVERGED, State.INTERRUPTED, State.UNREADABLE, State.DAMAGED)
MOST_TROUBLES = 20
"""Maximal number of listed problems."""
MOST_ROWS = 500
"""Maximal rows of the table of runs, which is sent as a whole at each change."""
RUN_HEADINGS = {
    "run": "run",
    "state": "state",
    "epochs": "epochs",
    "planned": "of",
    "last": "last",
    "left": "time left",
    "message": "message",
}
VALUE_HEADINGS = {
    "line": "line",
    "n": "n",
    "epoch": "epoch",
    "mean": "mean",
    "std": "std",
    "runs": "runs",
    "finished": "finished",
    "missing": "missing",
}


@dataclass(frozen=True)
class Part:
    """A section as sent to viewers."""

    version: int
    content: bytes
    """JSON: `key`, `html`, and `item`, the plot or null."""


@dataclass(frozen=True)
class View:
    """The complete view at one version."""

    version: int
    keys: Sequence[str]
    """Keys of the sections, in reading order, including those still to be drawn."""
    parts: Mapping[str, Part]

    def changes(self, since: int) -> bytes:
        """JSON: `version`, `keys`, and the `parts` newer than the version `since`.

        All parts if `since` is later than this version, that is, from another server.
        """
        newer = [
            part.content
            for key in self.keys
            if (part := self.parts.get(key)) and (part.version > since or since > self.version)
        ]
        head = json.dumps({"version": self.version, "keys": self.keys})[:-1]
        return b'%b, "parts": [%b]}' % (head.encode(), b", ".join(newer))


@dataclass
class LiveSweep:
    """The state of a sweep. `poll` and drawing belong to one thread; `view` is for any thread.

    Raises:
        UsageError: no plan, no selected run, runs that cannot be grouped, an unknown metric.
    """

    sweep: SweepDirectory
    figures: FiguresConfig
    band: Band
    selection: Selection = field(default_factory=dict)
    view: View = field(init=False)
    trouble: str | None = field(init=False, default=None)
    """The reason why the view is not up to date."""

    def __post_init__(self) -> None:
        # Greater than any version of an earlier server at this address.
        self.view = View(time.time_ns() // 10**6, [], {})
        self._records: dict[str, Run] = {}
        plan = read_plan(self.sweep)
        if plan is None:
            raise UsageError(f"{self.sweep.plan_file} does not exist: senet-lab train writes it")
        self._plan(plan)
        self._show_runs()

    def poll(self) -> None:
        """Read changed records, except those of finished runs.

        The view reports records that cannot be read.
        """
        before, self.trouble = self.trouble, None
        try:
            changed = self._read_changes()
        except Exception as error:  # any error is shown to viewers, and the next poll may succeed
            self.trouble, changed = _reason(error), False
        if changed or self.trouble != before:
            self._show_runs()

    def draw_next(self) -> bool:
        """Draw one of the changed charts; False if there is none."""
        if not self._stale:
            return False
        stem = self._stale.pop()
        name, axes = self._charts[stem]
        panel = self.panels[name]
        title, metric = axes.title(panel), axes.metric
        try:
            drawn = curves(values([panel], metric))
            last = finals(drawn, states([panel]))
            headings = VALUE_HEADINGS | {"mean": f"mean {metric.noun}"}
            shown = table(f"{title}: values at the last epoch", last, headings)
            section = figure_section(panel, drawn, self._looks, axes, self.band, None, [shown])
        except Exception as error:  # one chart that cannot be drawn must not hide the others
            section = Section(title, alerts=[f"This figure cannot be drawn: {_reason(error)}"])
        self._publish(f"figure:{stem}", section)
        return True

    def _read_changes(self) -> bool:
        """Read changed records; True if there were any."""
        if self.sweep.plan_file.stat().st_mtime_ns != self._planned_at:
            plan = read_plan(self.sweep)
            assert plan is not None
            self._plan(plan)
            return True
        changed = [run.directory for run in self.survey.runs if self._reload(run)]
        grown = {self._panel_of[directory] for directory in changed}
        for name in grown:
            self.panels[name] = with_runs(self.panels[name], self._records)
        self._stale |= {stem for stem, (name, _) in self._charts.items() if name in grown}
        return bool(changed)

    def _plan(self, plan: Plan) -> None:
        """Show the runs of a plan; without charts if they cannot be grouped."""
        self.panels: dict[str, Panel] = {}
        self._charts: dict[str, tuple[str, Axes]] = {}
        self._looks: dict[str, Look] = {}
        self._stale: set[str] = set()
        self._planned_at = 0
        planned_at = self.sweep.plan_file.stat().st_mtime_ns
        runs = select(plan.runs, self.selection)
        self.survey = Survey(self.sweep, runs)
        for run in runs:
            self._reload(run)
        panels = group([self._records[run.directory] for run in runs], self.figures)
        charts = axes_of(self.figures, panels)
        require_curves(charts, panels)
        self.metric = charts[0].metric
        self._panel_of = {run.directory: p.name for p in panels for line in p.lines for run in line.runs}
        self._looks = looks_of(panels)
        self._charts = {axes.stem(panel.name): (panel.name, axes) for panel in panels for axes in charts}
        self.panels = {panel.name: panel for panel in panels}
        self._stale = set(self._charts)
        self._planned_at = planned_at

    def _reload(self, run: PlannedRun) -> bool:
        """Read a run's record again; True if anything changed."""
        before = self.survey.statuses.get(run.directory)
        if before is not None and before.state in FINAL:
            return False
        record = self.sweep.run(run.directory)
        found = None
        try:
            status = checked_status(record, run)
            if status != before and status.state is not State.DAMAGED:
                found = read_run(run.directory, record, run.config, status.state)
        except Exception as error:  # one record that cannot be read must not hide the others
            status = Status(State.UNREADABLE, error=_reason(error))
        if status == before:
            return False
        self._records[run.directory] = found or run_without_epochs(run.directory, run.config, status.state)
        self.survey.statuses[run.directory] = status
        return True

    def _show_runs(self) -> None:
        self._publish("summary", self._summary())
        self._publish("runs", self._runs())

    def _publish(self, key: str, section: Section) -> None:
        version = self.view.version + 1
        item = None if section.plot is None else json_item(section.plot)
        content = json.dumps({"key": key, "html": render_section(section, key), "item": item}).encode()
        keys = ["summary", *(f"figure:{name}" for name in self._charts), "runs"]
        parts = {name: part for name, part in self.view.parts.items() if name in keys}
        self.view = View(version, keys, parts | {key: Part(version, content)})

    def _summary(self) -> Section:
        """Counts, epochs, time left, and problems."""
        survey = self.survey
        counts = ", ".join(f"{count} {state}" for state, count in survey.counts().items())
        done, epochs = survey.epochs()
        running = survey.counts()[State.RUNNING]
        left = survey.seconds_left(running) if running else None
        ending = "" if left is None else f"; about {clock(left)} left at this pace"
        troubles = [_told(run, survey.statuses[run.directory]) for run in survey.with_state(*TROUBLE)]
        more = len(troubles) - MOST_TROUBLES
        alerts = [
            *([f"The view cannot follow the sweep: {self.trouble}"] if self.trouble else []),
            *troubles[:MOST_TROUBLES],
            *([f"and {more} more"] if more > 0 else []),
        ]
        total = f"{counts}; epochs {round(done, 1):g} of {epochs}{ending}."
        return Section("State", [total, *survey.stages()], alerts=alerts)

    def _runs(self) -> Section:
        """The table of runs, with running and failed ones first."""
        runs = sorted(self.survey.runs, key=lambda run: self.survey.state(run) in FINAL)
        frame = pd.DataFrame([self._row(run) for run in runs[:MOST_ROWS]], columns=list(RUN_HEADINGS))
        more = len(runs) - MOST_ROWS
        all_runs = f"senet-lab status {self.sweep.words} lists all."
        notes = [f"Not shown: {counted(more, 'more run')}; {all_runs}"] if more > 0 else []
        headings = RUN_HEADINGS | {"last": f"last {self.metric.noun}"}
        return Section("Runs", notes, tables=[table("Runs", frame, headings)])

    def _row(self, run: PlannedRun) -> tuple[Any, ...]:
        status, metrics = self.survey.statuses[run.directory], self._records[run.directory].metrics
        done, epochs = status.epochs_done, run.config.epochs
        per_epoch = status.seconds / done if done else float("nan")
        left = 0.0 if status.state in FINAL else per_epoch * (epochs - done)
        last = float("nan") if metrics.empty else float(self.metric.of(metrics).iloc[-1])
        name = run.directory.removeprefix("runs/")
        return (name, str(status.state), done, epochs, last, time_cell(left), status.message)


class Reader(Background):
    """Polls a sweep while there are viewers."""

    def __init__(self, live: LiveSweep) -> None:
        super().__init__()
        self.live = live
        self._asked = time.monotonic()

    def ask(self, since: int) -> bytes:
        """The changes since a version; keeps polling active."""
        self._asked = time.monotonic()
        return self.live.view.changes(since)

    def work(self) -> None:
        """See `Background`."""
        seconds = 0.0
        while not self.ended.wait(max(POLL_SECONDS, seconds / POLL_SHARE)):
            started = time.monotonic()
            if started - self._asked < IDLE_SECONDS:
                self.live.poll()
                while not self.ended.is_set() and self.live.draw_next():
                    pass
            seconds = time.monotonic() - started


def _told(run: PlannedRun, status: Status) -> str:
    return f"{run.directory} {status.state}" + (f": {status.message}" if status.message else "")


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, UsageError) else f"{type(error).__name__}: {error}"
