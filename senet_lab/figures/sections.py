"""The sections of a sweep's pages."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any
from urllib.parse import quote

import pandas as pd

from senet_lab.analysis.coefficients import coefficients, last_values, over_epochs
from senet_lab.analysis.comparison import DIGITISED_TOLERANCE, WIDENING
from senet_lab.analysis.curves import curves, values
from senet_lab.analysis.grouping import Panel
from senet_lab.analysis.metrics import Metric
from senet_lab.analysis.published import Others, published_headings
from senet_lab.analysis.runs import MISSING, Run
from senet_lab.analysis.statistics import what_it_can_show
from senet_lab.config import Band
from senet_lab.errors import UsageError
from senet_lab.figures.axes import Axes
from senet_lab.figures.charts import make_interactive
from senet_lab.figures.coefficients import SYMBOLS, draw_coefficients
from senet_lab.figures.page import Link, Listing, Section, Table, table, time_cell
from senet_lab.figures.panels import draw, remarks
from senet_lab.figures.style import Look
from senet_lab.records.plan import Plan
from senet_lab.records.run import RunDirectory, State, Status
from senet_lab.records.sweep import SweepDirectory
from senet_lab.text import counted

FINAL_HEADINGS = {
    "line": "line",
    "epoch": "epoch",
    "n": "n",
    "mean": "ours",
    "std": "std",
    "other_n": "n of others",
    "other_mean": "others",
    "other_std": "std of others",
    "difference": "difference",
    "z": "z",
    "test": "test",
    "p": "p",
    "p_holm": "p (Holm)",
    "detectable": "detectable",
    "curve_epochs": "epochs compared",
    "curve_distance": "largest distance",
    "curve_distance_epoch": "at epoch",
}
EPOCH_HEADINGS = {
    "line": "line",
    "epoch": "epoch",
    "n": "n",
    "mean": "ours",
    "other_mean": "others",
    "other_std": "std of others",
    "low": "near from",
    "high": "to",
    "rule": "rule",
    "inside": "near",
}
RANKING_HEADINGS = {
    "figure": "figure",
    "epoch": "epoch",
    "ours": "ours, lowest error first",
    "others": "others",
    "same_order": "same order",
    "same_best": "same best",
    "kendall": "Kendall's τ",
    "p": "p",
    "spearman": "Spearman's ρ",
}
STATISTICS_HEADINGS = {
    "line": "line",
    "n": "n",
    "epoch": "epoch",
    "mean": "mean error",
    "std": "std",
    "sem": "std error",
    "t_low": "95 % from",
    "t_high": "to",
    "best_epoch": "best epoch",
    "best_mean": "its error",
    "target_error": "target",
    "target_epoch": "reached at epoch",
    "area": "area under curve",
    "area_epoch": "up to epoch",
    "missing": "missing runs",
}
PAIRWISE_HEADINGS = {
    "first": "line",
    "second": "against",
    "epoch": "epoch",
    "n": "n",
    "test": "test",
    "difference": "difference",
    "low": "95 % from",
    "high": "to",
    "p": "p",
    "p_holm": "p (Holm)",
}
COEFFICIENT_HEADINGS = {
    "line": "line",
    "site": "site",
    "coefficient": "coefficient",
    "n": "n",
    "mean": "mean",
    "std": "std",
}
RUN_HEADINGS = {
    "record": "record",
    "line": "line",
    "seed": "seed",
    "state": "state",
    "message": "message",
    "epochs": "epochs",
    "planned": "of",
    "last": "last",
    "time": "time",
}
ENVIRONMENT_HEADINGS = {"runs": "runs", "what": "what", "value": "value"}
HOW_TO_READ = (
    "z is the difference (ours minus the others') over its standard error. Welch's t test if both sides have "
    "two runs or more; if only the others' mean is known, a one-sample t test, which treats that mean as "
    "exact and so gives too small a p; no test for a single run. “detectable” is the true difference that "
    "the test finds with power 0.8, given these spreads. p (Holm) is corrected for all rows of all figures.",
    f"An epoch is near if all our runs lie within the range of the others' runs, widened by {WIDENING} of "
    "their standard deviations on each side; if only their mean is known, within "
    f"{DIGITISED_TOLERANCE} of it.",
)


def figure_section(
    panel: Panel,
    means: pd.DataFrame,
    looks: Mapping[str, Look],
    axes: Axes,
    band: Band,
    others: Others | None,
    tables: Sequence[Table],
) -> Section:
    """A panel's chart with notes and tables; no chart before the first epoch.

    Args:
        panel: see `panels.draw`.
        means: the panel's rows of `curves.curves`; none before the first epoch.
        looks: see `panels.draw`.
        axes: see `panels.draw`.
        band: see `panels.draw`.
        others: see `panels.draw`.
        tables: under the chart.
    """
    title = axes.title(panel)
    if means.empty:
        return Section(title, ["No run has finished an epoch yet."], tables=tables)
    sentences = remarks(panel, means, axes, others)
    chart = draw(panel, means, looks, axes, band, others, sentences)
    make_interactive(chart)
    return Section(title, [f"{axes.metric.label}: {chart.subtitle}.", *sentences], chart.figure, tables)


def comparison_sections(
    panels: Sequence[Panel],
    theirs: Mapping[str, Panel],
    looks: Mapping[str, Look],
    axes: Axes,
    others: Others,
    tables: Mapping[str, pd.DataFrame],
) -> list[Section]:
    """The sections of `senet-lab compare` for one metric: explanation, rankings, and one per panel.

    Args:
        panels: our panels.
        theirs: the other sweep's panels, by name; empty for published values, which are drawn into ours.
        looks: looks of all lines.
        axes: axes of the charts.
        others: the other values.
        tables: `final`, `epochs` and `ranking` of `analysis.comparison`.
    """
    read = [*HOW_TO_READ, what_it_can_show(int(tables["final"]["n"].max()))]
    ranking = table(f"Rankings by mean {axes.metric.noun}", tables["ranking"], RANKING_HEADINGS)
    sections = [Section("Summary", read, tables=[ranking])]
    for panel in panels:
        parts = {name: frame[frame["figure"] == panel.name] for name, frame in tables.items()}
        if parts["final"].empty:
            continue
        found = [
            table("At the last common epoch, and over the whole curves", parts["final"], FINAL_HEADINGS),
            table("Epoch by epoch", parts["epochs"], EPOCH_HEADINGS),
        ]
        drawn = None if theirs else others
        sections.append(_compared(panel, looks, axes, drawn, found))
        if panel.name in theirs:
            beside = _compared(theirs[panel.name], looks, axes, None, [])
            ours = sections[-1].plot
            if ours is not None and beside.plot is not None:  # linked axes
                beside.plot.update(x_range=ours.x_range, y_range=ours.y_range)
            sections.append(replace(beside, alternative="its values are the others' in the tables above"))
    return sections


def _compared(
    panel: Panel, looks: Mapping[str, Look], axes: Axes, others: Others | None, tables: Sequence[Table]
) -> Section:
    """One side of a comparison."""
    means = curves(values([panel], axes.metric))
    return figure_section(panel, means, looks, axes, Band.std, others, tables)


def statistics_headings(table: pd.DataFrame, metric: Metric) -> dict[str, str]:
    """Headings of the shown columns of `with_statistics`, and of published values."""
    headings = STATISTICS_HEADINGS | {"mean": f"mean {metric.noun}", "best_mean": f"its {metric.noun}"}
    return headings | dict(published_headings(table))


def published_section(finals: pd.DataFrame, epochs: pd.DataFrame, ranking: pd.DataFrame) -> Section:
    """A short comparison of all figures with published runs."""
    of_all = counted(len(epochs), "compared epoch is", "compared epochs are")
    near = f"{epochs['inside'].sum()} of {of_all} near the published ones."
    tables = [
        table(
            "At the last common epoch, and over the whole curves",
            finals,
            {"figure": "figure"} | FINAL_HEADINGS,
        ),
        table("Rankings by mean", ranking, RANKING_HEADINGS),
    ]
    return Section("Comparison with the published runs", [*HOW_TO_READ, near], tables=tables)


def coefficient_section(panel: Panel, looks: Mapping[str, Look], sweep: SweepDirectory) -> Section | None:
    """The learned coefficients of a panel's activations; None if there are none."""
    found = coefficients(panel, sweep)
    if found.empty:
        return None
    drawn = {line.label: looks[line.label] for line in panel.lines if line.label in set(found["line"])}
    chart = draw_coefficients(over_epochs(found), drawn)
    make_interactive(chart)
    last = last_values(found).replace({"coefficient": SYMBOLS})
    return Section(
        f"{panel.title}: learned coefficients",
        ["Mean and range over sites and seeds. TAct is (αx + 1 − α)·σ((1 + β)x); mTAct squares α and β."],
        chart.figure,
        [table("At the last epoch, mean over runs", last, COEFFICIENT_HEADINGS)],
    )


def runs_section(panels: Sequence[Panel], metric: Metric, left_out: Mapping[str, Status]) -> Section:
    """Every run with its state and a link to its record, unfinished ones first."""
    rows = [
        _run_row(run, metric, line.label) for panel in panels for line in panel.lines for run in line.runs
    ]
    blank = dict.fromkeys(RUN_HEADINGS)
    rows += [
        {**blank, "record": _record(directory), "state": str(status.state), "message": status.error}
        for directory, status in left_out.items()
    ]
    frame = pd.DataFrame(rows, columns=list(RUN_HEADINGS))
    frame = frame.astype(dict.fromkeys(("seed", "epochs", "planned"), "Int64"))
    frame = frame.sort_values("state", key=lambda states: states == State.FINISHED, kind="stable")
    headings = RUN_HEADINGS | {"last": f"last {metric.noun}"}
    counts = frame["state"].value_counts().sort_index()
    summary = ", ".join(f"{count} {state}" for state, count in counts.items())
    return Section(
        "Runs", [f"{counted(len(frame), 'run')}: {summary}."], tables=[table("Runs", frame, headings)]
    )


def _run_row(run: Run, metric: Metric, line: str) -> dict[str, Any]:
    last = None if run.metrics.empty else float(metric.of(run.metrics).iloc[-1])
    return {
        "record": _record(run.directory) if run.state != MISSING else run.directory,
        "line": line,
        "seed": run.config.seed,
        "state": str(run.state),
        "epochs": len(run.metrics),
        "planned": run.config.epochs,
        "last": last,
        "time": time_cell(float(run.metrics["seconds"].sum())),
        "message": run.message,
    }


def _record(directory: str) -> Link:
    """A link to a run's folder, relative to the sweep's."""
    return Link(directory, f"{quote(directory)}/")


def failures_section(
    sweep: SweepDirectory, runs: Sequence[Run], left_out: Mapping[str, Status]
) -> Section | None:
    """Tracebacks of failed runs, and faults of unreadable and damaged records; None if there are none."""
    listings = [Listing(directory, status.error or "") for directory, status in left_out.items()]
    for run in runs:
        if run.state == State.FAILED and (trace := _trace(sweep.run(run.directory))) is not None:
            listings.append(Listing(run.directory, trace, is_open=False))
    return Section("Failures", listings=listings) if listings else None


def _trace(record: RunDirectory) -> str | None:
    try:
        return record.error_trace()
    except UsageError as error:
        return str(error)


def plan_section(plan: Plan | None, sweep: SweepDirectory, commands: Sequence[str]) -> Section:
    """The plan, its commands, and the command of this page."""
    if plan is None:
        return Section("Plan", ["These runs have no plan."], listings=_commands(commands))
    trained = [f"senet-lab train {run.command} {sweep.words}" for run in plan.runs]
    models = sorted({run.config.model["name"] for run in plan.runs})
    sentences = [
        f"{counted(len(plan.runs), 'run')} of {', '.join(models)}, "
        f"planned by code with the hash {plan.source[:12]}."
    ]
    return Section("Plan", sentences, listings=_commands([*dict.fromkeys(trained), *commands]))


def _commands(commands: Sequence[str]) -> list[Listing]:
    return [Listing("Commands; the last one wrote this page", "\n".join(commands))]


def environment_section(sweep: SweepDirectory, runs: Sequence[Run]) -> Section:
    """Versions, hardware and source of the runs, with the number of runs for each."""
    rows = []
    for run in runs:
        try:
            attempts = [asdict(attempt) for attempt in sweep.run(run.directory).environments()[-1:]]
        except UsageError as error:
            attempts = [{State.UNREADABLE: str(error)}]
        rows += [
            {"what": key, "value": _plain(value)} for attempt in attempts for key, value in attempt.items()
        ]
    frame = pd.DataFrame(rows, columns=["what", "value"])
    counted = frame.groupby(["what", "value"], sort=False).size().rename("runs").reset_index()
    return Section(
        "Versions and hardware", tables=[table("Recorded by the runs", counted, ENVIRONMENT_HEADINGS)]
    )


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    return str(value)
