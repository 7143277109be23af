"""`senet-lab plot`: write a sweep's curves and final values as CSV, figures as HTML, PNG, SVG and PDF."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from senet_lab.analysis.curves import CURVES_COLUMNS
from senet_lab.analysis.grouping import Panel, group
from senet_lab.analysis.metrics import known_metrics
from senet_lab.analysis.results import Results, results
from senet_lab.analysis.statistics import with_statistics
from senet_lab.commands.finals import print_finals
from senet_lab.commands.whole import whole_runs
from senet_lab.composition.command import Command
from senet_lab.config import PlotConfig, XAxis
from senet_lab.errors import UsageError
from senet_lab.figures.axes import Axes, axes_of, require_curves
from senet_lab.figures.style import Look, looks_of
from senet_lab.figures.write import FORMATS, VERDICT, check_formats, write_csv, write_drawings
from senet_lab.files import make_writable
from senet_lab.records.figures import planned_config
from senet_lab.records.sweep import SweepDirectory, sweep_directory
from senet_lab.text import plain

if TYPE_CHECKING:
    from senet_lab.figures.export import Drawing


def plot(command: Command) -> int:
    """Draw the figures of a sweep, or of its selected runs, into its folder `figures`, or into `folder`.

    Returns:
        The exit code: 0, or 1 if a run was left out or the browser failed to render a figure.

    Raises:
        UsageError: nothing to plot, no selected run, runs that cannot be grouped, an unknown metric or
            format, a folder that cannot be written.
    """
    sweep = sweep_directory(command.config.outputs, command.config.name)
    config: PlotConfig = planned_config(command, sweep)
    check_formats(config.formats)
    runs, is_complete = whole_runs(sweep, command.selection)
    panels = group(runs, config.figures)
    looks = looks_of(panels)
    charts = axes_of(config.figures, panels)
    require_curves(charts, panels)
    found = {axes: results(panels, axes.metric, config.published) for axes in charts}
    _check(sweep, panels, found)
    # Links below a folder of the user's own choice are followed.
    folder, root = (Path(config.folder), None) if config.folder else (sweep.figures, sweep.path)
    make_writable(folder, root)
    # Imported late: bokeh and chartify take a second.
    from senet_lab.figures.drawings import draw_panels

    drawings: dict[str, Drawing] = {}
    for axes, result in found.items():
        write_csv(folder / f"{axes.stem('curves')}.csv", result.curves[list(_columns(axes))], root)
        table = with_statistics(result.finals, result.curves, axes.metric)
        write_csv(folder / f"{axes.table('final')}.csv", table, root)
        drawings |= draw_panels(panels, looks, axes, result, config.band, config.reference)
        if config.figures.macs:
            values, charts_of_macs = _draw_macs(panels, looks, axes, result, config.reference)
            write_csv(folder / f"{axes.table('macs')}.csv", values, root)
            drawings |= charts_of_macs
    drawn = write_drawings(drawings, folder, config.formats, root)
    for panel in panels:
        if not panel.has_epochs:
            print(f"{panel.name}: no epoch yet, so no figure")
    if config.reference and all(result.others.empty for result in found.values()):
        print("reference=true: no published values of the data set and networks of these runs")
    if not command.selection:
        _print_stale(folder, panels)
    for result in found.values():
        print_finals(result)
    return 0 if drawn and is_complete else 1


def _check(sweep: SweepDirectory, panels: Sequence[Panel], found: Mapping[Axes, Results]) -> None:
    """Refuse a plot without any value."""
    if not any(panel.has_epochs for panel in panels):
        raise UsageError(f"{sweep.path}: no run has finished an epoch yet, so there is nothing to plot")
    for axes, result in found.items():
        if result.runs.empty:
            raise UsageError(f"figures.metric={axes.metric.name}: no run of {sweep.path} has recorded it")
        if result.curves[str(axes.x)].isna().all():
            raise UsageError(f"figures.x={axes.x}: no run of {sweep.path} has recorded it")


def _columns(axes: Axes) -> Iterator[str]:
    """The columns of the curves' file: `CURVES_COLUMNS`, with the x axis's column after the epoch."""
    for column in CURVES_COLUMNS:
        yield column
        if column == "epoch" and axes.x is not XAxis.epoch:
            yield str(axes.x)


def _draw_macs(
    panels: Sequence[Panel], looks: Mapping[str, Look], axes: Axes, result: Results, reference: bool
) -> "tuple[pd.DataFrame, dict[str, Drawing]]":
    """Table and charts of each panel's final values against the multiply-accumulates of its lines.

    Published values are at the published count; if there is none, at ours.
    """
    from senet_lab.commands.summary import describe
    from senet_lab.figures.charts import Words
    from senet_lab.figures.export import compile_chart
    from senet_lab.figures.kinds import draw_points

    lines = [(panel.name, line) for panel in panels for line in panel.lines]
    costs = pd.DataFrame([describe(line.config) for _, line in lines])[["macs", "parameters", "image_size"]]
    costs = costs.assign(figure=[name for name, _ in lines], line=[line.label for _, line in lines])
    values = result.finals.merge(costs).dropna(subset="mean")
    what = f"{axes.metric.label.lower()} at the last epoch"
    theirs = result.others.ends.rename(columns={"value": "mean", "macs": "published"}).merge(costs)
    theirs = theirs.assign(macs=theirs["published"].fillna(theirs["macs"]).astype(float))
    drawings = {}
    for panel in panels:
        mine = values[values["figure"] == panel.name].drop(columns="figure")
        known = theirs[theirs["figure"] == panel.name] if reference else theirs[:0]
        subtitle = f"{panel.data}; {what}{'; outlines: published' if len(known) else ''}"
        words = Words(panel.title, subtitle, "Multiply-accumulates per image", axes.metric.axis, "Values")
        drawn = {label: looks[label] for label in mine["line"]}
        chart = draw_points(mine, "macs", "mean", "line", drawn, words, known)
        drawings[f"{axes.stem(panel.name)}_macs"] = compile_chart(chart, [], mine, words.caption)
    return values, drawings


def _print_stale(folder: Path, panels: Sequence[Panel]) -> None:
    """Print the names of stale charts, drawn with other templates."""
    every = [
        Axes(metric, x).stem(panel.name)
        for panel in panels
        for metric in known_metrics().values()
        for x in XAxis
    ]
    current = {*every, *(f"{stem}_macs" for stem in every)}
    files = [file for form in FORMATS for file in folder.glob(f"*.{form}")]
    stale = [file for file in files if file.stem not in current and not file.stem.startswith(VERDICT)]
    if stale:
        names = plain(", ".join(sorted(file.name for file in stale)))
        print(f"{folder} also holds older figures of other templates: {names}")
