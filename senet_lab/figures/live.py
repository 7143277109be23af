"""A sweep as it runs: one reader of the records for all viewers, and what each viewer's browser shows."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bokeh.document import Document
from bokeh.layouts import column
from bokeh.models import ColumnDataSource, InlineStyleSheet, Plot
from bokeh.models.widgets.markups import Div
from bokeh.models.widgets.tables import DataTable, NumberFormatter, StringFormatter, TableColumn

from senet_lab.analysis.curves import finals, notes
from senet_lab.analysis.grouping import Figure, Run, group, read_run, with_runs
from senet_lab.config import Band
from senet_lab.errors import UsageError
from senet_lab.figures.charts import draw, make_interactive
from senet_lab.figures.page import TEMPLATES, table
from senet_lab.records.plan import Plan, PlannedRun, read_plan
from senet_lab.records.run import FINAL, RunDirectory, State, Status
from senet_lab.records.survey import Survey, readable_status
from senet_lab.records.sweep import SweepDirectory

TROUBLE = (State.FAILED, State.DIVERGED, State.INTERRUPTED, State.UNREADABLE)
UPDATE_MILLISECONDS = 250
"""Between two updates of a view."""
MOST_TROUBLES = 20
"""As many are told one by one."""
COLUMNS = {
    "state": ("state", 90),
    "epochs": ("epochs", 60),
    "planned": ("of", 50),
    "error": ("last error", 80),
    "left": ("minutes left", 90),
    "run": ("run", 380),
    "message": ("message", 400),
}
"""Of the table of runs: heading, and width in pixels."""
VALUES = {
    "line": "line",
    "n": "n",
    "epoch": "epoch",
    "mean": "mean error",
    "std": "std",
    "runs": "runs",
    "finished": "finished",
    "missing": "missing",
}
"""Of the table under a figure: the columns of `curves.finals` under their headings."""
TABLE_COLORS = """
.slick-header-column, .slick-row, .slick-cell {
  background: var(--paper) !important;
  color: var(--ink) !important;
}
"""

TEXT_STYLE = f"""
:host {{ color: var(--ink); font: 16px/1.5 system-ui, helvetica, arial, sans-serif; min-width: 0; }}
.bk-clearfix {{ display: block !important; max-width: 100%; }}
h2 {{ font-size: 1.3rem; line-height: 1.25; margin: 1.5rem 0 0.5rem; overflow-wrap: anywhere; }}
p, li {{ max-width: 80ch; overflow-wrap: anywhere; }}
:focus-visible {{ outline: 3px solid var(--link); outline-offset: 2px; }}
.trouble {{ color: var(--bad); }}
{TEMPLATES.get_template("table.css").render()}
"""
"""Of the parts that are text: a page's own style does not reach into them."""


def has_epochs(figure: Figure) -> bool:
    """Whether there is anything to draw."""
    return any(not run.metrics.empty for line in figure.lines for run in line.runs)


@dataclass(frozen=True)
class Content:
    """What a figure shows at one version: worked out once, for all viewers."""

    figure: Figure
    band: Band

    @cached_property
    def heading(self) -> str:
        """Title and notes, as HTML."""
        sentences = notes(self.figure) if has_epochs(self.figure) else ["No run has finished an epoch yet."]
        return TEMPLATES.get_template("heading.html.jinja").render(title=self.figure.title, notes=sentences)

    @cached_property
    def values(self) -> str:
        """The same for those who cannot see it: the last epoch of each line, as an HTML table."""
        values = table(f"{self.figure.title}: values at the last epoch", finals([self.figure]), VALUES)
        return TEMPLATES.get_template("values.html.jinja").render(table=values)

    @cached_property
    def model(self) -> Plot | None:
        """A plot whose data viewers copy into their own; None before the first epoch."""
        return self.plot()

    def plot(self) -> Plot | None:
        """A new plot, which one viewer's document can take; None before the first epoch."""
        if not has_epochs(self.figure):
            return None
        chart = draw(self.figure, self.band, reference=False, notes=())
        make_interactive(chart)
        return chart.figure


class LiveSweep:
    """The state of a sweep, read again on `poll`; all viewers look at this one."""

    def __init__(self, sweep: SweepDirectory, templates: dict[str, Any], band: Band) -> None:
        """Read everything once.

        Raises:
            UsageError: no plan, or runs that cannot be grouped.
        """
        self.sweep, self.templates, self.band = sweep, templates, band
        self.version = 0
        """Grows with each change that a viewer should see."""
        self.contents: dict[str, Content] = {}
        """Of each figure, by name."""
        self.versions: dict[str, int] = {}
        """Of each figure, the version that changed it last."""
        self._planned_at = 0
        self._records: dict[str, Run] = {}
        plan = read_plan(sweep)
        if plan is None:
            raise UsageError(f"{sweep.plan_file} does not exist: senet-lab train writes it")
        self._plan(plan)

    def poll(self) -> None:
        """Read what has changed since the last time: finished runs are left alone."""
        if self.sweep.plan_file.stat().st_mtime_ns != self._planned_at:
            plan = read_plan(self.sweep)
            assert plan is not None
            self._plan(plan)
            return
        changed = self._refresh()
        if changed:
            self.version += 1
        for name in {self._figure_of[directory] for directory in changed}:
            self.contents[name] = Content(with_runs(self.contents[name].figure, self._records), self.band)
            self.versions[name] = self.version

    def _plan(self, plan: Plan) -> None:
        self._planned_at = self.sweep.plan_file.stat().st_mtime_ns
        self.survey = Survey(self.sweep, plan.runs)
        self._refresh()
        figures = group([self._records[run.directory] for run in plan.runs], self.templates)
        self.contents = {figure.name: Content(figure, self.band) for figure in figures}
        self._figure_of = {run.directory: f.name for f in figures for line in f.lines for run in line.runs}
        self.version += 1
        self.versions = dict.fromkeys(self.contents, self.version)

    def _refresh(self) -> list[str]:
        """Read the records that are another than before; their directories."""
        return [run.directory for run in self.survey.runs if self._read(run)]

    def _read(self, run: PlannedRun) -> bool:
        """Whether the run's record is another than before."""
        before = self.survey.statuses.get(run.directory)
        if before is not None and before.state in FINAL:
            return False
        record = self.sweep.run(run.directory)
        status = readable_status(record)
        if status == before:
            return False
        try:
            self._records[run.directory] = read_run(run.directory, record, run.config, status.state)
        except UsageError as error:
            status = Status(State.UNREADABLE, error=str(error))
            if status == before:
                return False
            blank = RunDirectory(record.path / State.UNREADABLE)
            self._records[run.directory] = read_run(run.directory, blank, run.config, status.state)
        self.survey.statuses[run.directory] = status
        return True

    def rows(self) -> list[tuple[Any, ...]]:
        """The table of runs, in plan order; its columns are `COLUMNS`."""
        return [self._row(run) for run in self.survey.runs]

    def _row(self, run: PlannedRun) -> tuple[Any, ...]:
        status, metrics = self.survey.statuses[run.directory], self._records[run.directory].metrics
        done, epochs = status.epochs_done, run.config.epochs
        per_epoch = status.seconds / done if done else float("nan")
        left = 0.0 if status.state in FINAL else per_epoch * (epochs - done) / 60
        error = float("nan") if metrics.empty else 1 - float(metrics["test_top1"].iloc[-1])
        return (str(status.state), done, epochs, error, left, run.directory, status.message)

    def summary(self) -> str:
        """Where the sweep stands, as HTML: counts, epochs, time left, and every trouble."""
        survey = self.survey
        troubles = [
            (run.directory, survey.state(run), survey.statuses[run.directory].error or "")
            for run in survey.with_state(*TROUBLE)
        ]
        running = survey.counts()[State.RUNNING]
        left = survey.seconds_left(running) if running else None
        return TEMPLATES.get_template("summary.html.jinja").render(
            counts=survey.counts(),
            epochs=survey.epochs(),
            minutes_left=None if left is None else left / 60,
            troubles=troubles[:MOST_TROUBLES],
            more=len(troubles[MOST_TROUBLES:]),
        )


@dataclass
class _Panel:
    """A figure in one viewer's page."""

    heading: Div
    plot: Plot | None
    values: Div
    version: int


class Viewer:
    """One viewer's document, brought up to date on `update`."""

    def __init__(self, live: LiveSweep, document: Document) -> None:
        self.live = live
        self.version = -1
        self.summary = _text()
        self.panels: dict[str, _Panel] = {}
        self.figures = column(sizing_mode="stretch_width")
        self.rows: list[tuple[Any, ...]] = []
        self.source = ColumnDataSource({name: [] for name in COLUMNS})
        columns = [
            TableColumn(field=key, title=text, width=width, formatter=_formatter(key))
            for key, (text, width) in COLUMNS.items()
        ]
        table = DataTable(
            source=self.source,
            columns=columns,
            index_position=None,
            autosize_mode="none",
            reorderable=False,  # would need a library that bokeh does not bring
            sizing_mode="stretch_width",
            height=500,
            stylesheets=[InlineStyleSheet(css=TABLE_COLORS)],
        )
        document.title = live.sweep.name
        document.template = TEMPLATES.get_template("live.html.jinja")
        self.update()
        document.add_root(column(self.summary, self.figures, table, sizing_mode="stretch_width"))

    def update(self) -> None:
        """Show what has changed since the last time, and touch nothing else.

        One figure a call, the one that has waited longest: so many figures and viewers share the server.
        """
        if self.version != self.live.version:
            self.version = self.live.version
            self.summary.text = self.live.summary()
            self._update_rows()
        shown = {name: panel.version for name, panel in self.panels.items()}
        stale = [name for name, version in self.live.versions.items() if shown.get(name) != version]
        if stale:
            self._update_figure(min(stale, key=lambda name: shown.get(name, -1)))

    def _update_figure(self, name: str) -> None:
        panel = self.panels.setdefault(name, _Panel(_text(), None, _text(), -1))
        panel.version = self.live.versions[name]
        content = self.live.contents[name]
        panel.heading.text, panel.values.text = content.heading, content.values
        panel.plot = _grown(panel.plot, content)
        panels = [self.panels[name] for name in self.live.versions if name in self.panels]
        parts = [part for panel in panels for part in (panel.heading, panel.plot, panel.values) if part]
        if parts != self.figures.children:
            self.figures.update(children=parts)

    def _update_rows(self) -> None:
        rows = self.live.rows()
        if len(rows) != len(self.rows):
            self.source.data = dict(zip(COLUMNS, map(list, zip(*rows, strict=True)), strict=True))
        else:
            patches: dict[str, list[tuple[int, Any]]] = {}
            for index, (old, new) in enumerate(zip(self.rows, rows, strict=True)):
                for name, before, now in zip(COLUMNS, old, new, strict=True):
                    if before != now and not (before != before and now != now):  # NaN is no change from NaN
                        patches.setdefault(name, []).append((index, now))
            if patches:
                self.source.patch(patches)
        self.rows = rows


def _formatter(column: str) -> StringFormatter:
    formats = {"error": "0.0000", "left": "0.0"}
    if column not in formats:
        return StringFormatter()
    return NumberFormatter(format=formats[column], nan_format="–")


def _text() -> Div:
    return Div(disable_math=True, sizing_mode="stretch_width", stylesheets=[InlineStyleSheet(css=TEXT_STYLE)])


def _grown(shown: Plot | None, content: Content) -> Plot | None:
    """The plot that is shown, with the data of `content` where both are made of the same parts.

    So curves grow under the reader's zoom; else a new plot, in which the lines that were hidden stay so.
    """
    if shown is None or content.model is None:
        return content.plot()
    before, after = _parts(shown), _parts(content.model)
    if list(before.values()) == list(after.values()):
        for old, new in zip(before, after, strict=True):
            data = {key: list(values) for key, values in new.data_source.data.items()}
            if data != {key: list(values) for key, values in old.data_source.data.items()}:
                old.data_source.data = data
        return shown
    hidden = {label for renderer, (_, _, label) in before.items() if not renderer.visible}
    fresh = content.plot()
    for renderer, (_, _, label) in _parts(fresh).items():
        renderer.visible = label not in hidden
    return fresh


def _parts(plot: Any) -> dict[Any, tuple[str, str, str]]:
    """What a plot is made of: the name, glyph and label in the legend of each renderer."""
    labels = {renderer: item.label.value for item in plot.legend[0].items for renderer in item.renderers}
    return {r: (r.name or "", type(r.glyph).__name__, labels.get(r, "")) for r in plot.renderers}


def application(live: LiveSweep) -> Callable[[Document], None]:
    """What a bokeh server calls for each new viewer."""

    def open_view(document: Document) -> None:
        viewer = Viewer(live, document)
        document.add_periodic_callback(viewer.update, UPDATE_MILLISECONDS)

    return open_view
