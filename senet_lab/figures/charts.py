"""The chart builder: Chartify charts of lines, bands, points, cells and pictures from tidy frames.

Charts are built for print; `make_interactive` converts one for the browser.
"""

import os
import textwrap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from bokeh.io.state import curstate
from bokeh.models import Axis, BoxZoomTool, CustomJSTickFormatter, HoverTool, ResetTool
from bokeh.models.annotations import ColorBar, Title

from senet_lab.figures.style import FILL, FONT, GRID, INK, MARKERS, SMALL_INK, Look

# Importing chartify loads ~/.chartify with an unsafe YAML loader; a folder that does not exist has no
# such files. Chartify glues file names to the string, hence the slash.
os.environ["CHARTIFY_CONFIG_DIR"] = f"{Path(__file__).with_name('no-chartify-config')}/"
if curstate().notebook_type is None:
    curstate().notebook_type = "jupyter"  # else bokeh puts 8 MB of JavaScript into a notebook
import chartify

HEIGHT = 500
"""Pixels of an interactive chart."""
DECIMALS = """
const step = ticks.length > 1 ? Math.abs(ticks[1] - ticks[0]) : 0.01
return tick.toFixed(Math.max(0, Math.ceil(-Math.log10(step) - 1e-6)))
"""
"""Ticks with enough decimals to differ, even zoomed in; bokeh's own cut trailing zeros."""
NOTE_WIDTH = 130
"""Characters per line under the title."""
TICK_WIDTH = 24
"""Characters on a line under a picture."""
NOTE_HEIGHT = 16
"""Pixels per line under the title."""
VALUES = "mean"
"""Name of the renderers with tooltips."""

Tooltips = Sequence[tuple[str, str]]
"""Tooltips: label, and bokeh's text with `@column`."""


@dataclass(frozen=True)
class Words:
    """The text of a chart."""

    title: str
    subtitle: str
    x: str
    y: str
    caption: str = "Values at the last epoch"
    """Caption of the table below the chart."""
    notes: Sequence[str] = ()
    """Sentences of small print."""


def start(
    words: Words, colors: Mapping[str, str] | None = None, x_type: str = "linear", y_type: str = "linear"
) -> chartify.Chart:
    """An empty chart.

    Args:
        words: its text.
        colors: of each label that will be drawn.
        x_type: `linear`, `log` or `categorical`.
        y_type: the same.
    """
    chart = chartify.Chart(blank_labels=True, x_axis_type=x_type, y_axis_type=y_type)
    if colors is not None:
        chart.style.set_color_palette("accent", accent_values=dict(colors))
    chart.set_title(words.title)
    chart.set_subtitle(words.subtitle)
    chart.figure.above[0].update(text_font_style="normal", text_color=SMALL_INK)
    if words.notes:
        _write_notes(chart, words.notes)
    return chart


def add_line(
    chart: chartify.Chart,
    table: pd.DataFrame,
    x: str,
    y: str,
    label: str,
    dash: str = "solid",
    name: str = VALUES,
    width: float = 2,
    alpha: float = 1.0,
) -> None:
    """Draw a line in the colour of `label`; a single row is a point. Tooltips may use all columns."""
    drawn = table[[x, y]].assign(legend=label)
    if len(table) == 1:  # a line through one point has no length
        chart.plot.scatter(drawn, x, y, color_column="legend", color_order=[label], alpha=alpha)
    else:
        chart.plot.line(drawn, x, y, "legend", [label], line_dash=dash, line_width=width, alpha=alpha)
    _add_columns(chart, table, name)


def add_band(
    chart: chartify.Chart,
    table: pd.DataFrame,
    x: str,
    low: str,
    high: str,
    label: str,
    fill: float = FILL,
    outline: str | None = None,
    name: str = "band",
) -> None:
    """Draw the range from `low` to `high` in the colour of `label`; a single row is a bar.

    Args:
        chart: to draw on.
        table: one row a place on the x axis.
        x: column.
        low: column.
        high: column.
        label: in the legend.
        fill: opacity.
        outline: dash of the edges, or None for no edges.
        name: of the renderer.
    """
    if len(table) == 1:  # an area over one place has no width
        row = table.iloc[0]
        bar = pd.DataFrame({x: [row[x]] * 2, low: [row[low], row[high]], "legend": label})
        chart.plot.line(bar, x, low, "legend", [label], line_width=6, alpha=0.3)
    else:
        chart.plot.area(table[[x, low, high]].assign(legend=label), x, low, high, "legend", [label])
        glyph = chart.figure.renderers[-1].glyph
        glyph.update(fill_alpha=fill, line_color=None if outline is None else glyph.fill_color)
        if outline is not None:
            glyph.update(line_dash=outline, line_alpha=0.6, line_width=1)
    chart.figure.renderers[-1].name = name


def add_points(
    chart: chartify.Chart,
    table: pd.DataFrame,
    x: str,
    y: str,
    label: str,
    look: Look,
    size: float | None = None,
    hollow: bool = False,
) -> None:
    """Draw a point for each row, in the look of `label`; a hollow one has an outline alone."""
    drawn = table[[x, y]].assign(legend=label)
    chart.plot.scatter(drawn, x, y, None, "legend", [label], marker=MARKERS[look.dash])
    if size is not None:
        chart.figure.renderers[-1].glyph.size = size
    if hollow:
        chart.figure.renderers[-1].glyph.fill_alpha = 0
    _add_columns(chart, table, VALUES)


def _add_columns(chart: chartify.Chart, table: pd.DataFrame, name: str) -> None:
    """Name the newest renderer, and add the columns that Chartify left out, for its tooltips."""
    renderer = chart.figure.renderers[-1]
    renderer.name = name
    for column in table.columns.difference(renderer.data_source.data):
        renderer.data_source.add(table[column].to_numpy(), column)


def finish(
    chart: chartify.Chart,
    words: Words,
    tooltips: Tooltips,
    order: Sequence[str] = (),
    decimals: bool = True,
) -> None:
    """Finish a chart: axes, legend and tooltips.

    Args:
        chart: with everything in it.
        words: its text.
        tooltips: over the renderers named `VALUES`.
        order: labels as the legend lists them; those that it lacks are left out.
        decimals: tick numbers of the y axis with as many decimals as they need.
    """
    style_axes(chart, words.x, words.y)
    plot = chart.figure
    if tooltips:
        shown = [renderer for renderer in plot.renderers if renderer.name == VALUES]
        plot.add_tools(HoverTool(renderers=shown, line_policy="nearest", tooltips=list(tooltips)))
    if decimals:
        plot.yaxis.formatter = CustomJSTickFormatter(code=DECIMALS)
    if order:
        chart.set_legend_location("outside_right", orientation="vertical")
        legend = plot.legend[0]
        items = {item.label.value: item for item in legend.items}
        legend.items = [items[label] for label in order if label in items]
        legend.click_policy = "hide"


def make_interactive(chart: chartify.Chart) -> None:
    """Convert a chart from print to the browser: zoom tools and the page's width.

    Title, subtitle and notes are removed: the page has them as text that wraps and is accessible.
    """
    plot = chart.figure
    plot.add_tools(BoxZoomTool(), ResetTool())
    plot.output_backend = "canvas"
    plot.toolbar_location = "above"
    plot.sizing_mode = "stretch_width"
    plot.title.visible = False
    plot.above = []
    plot.height = HEIGHT
    plot.min_border_top = plot.min_border_right = plot.min_border_bottom = 10


def style_axes(chart: chartify.Chart, x_label: str, y_label: str) -> None:
    """Set labels, and greys that are legible in print."""
    chart.axes.set_xaxis_label(x_label)
    chart.axes.set_yaxis_label(y_label)
    plot = chart.figure
    plot.ygrid.grid_line_color = GRID
    plot.axis.major_label_text_color = SMALL_INK
    plot.axis.axis_label_text_color = INK
    plot.toolbar_location = None
    plot.output_backend = "svg"  # vectors in the legend too


def _write_notes(chart: chartify.Chart, notes: Sequence[str]) -> None:
    """Add small print under the subtitle, and enlarge the figure by its height."""
    plot = chart.figure
    lines = [line for note in notes for line in textwrap.wrap(note, NOTE_WIDTH)]
    small = Title(text="\n".join(lines), name="notes", text_font=FONT, text_color=SMALL_INK)
    small.text_font_size, small.text_font_style = "10pt", "normal"
    plot.above = [small, *plot.above]  # the first stands next to the plot
    plot.height += NOTE_HEIGHT * len(lines)


def draw_lines(
    table: pd.DataFrame,
    x: str,
    y: str,
    line: str,
    colors: Mapping[str, str],
    words: Words,
    y_range: tuple[float, float],
    dashed: Collection[str] = (),
) -> chartify.Chart:
    """A line for each label in the column `line`, in the order of `colors`; the last one is on top."""
    chart = start(words, colors)
    for label in colors:
        part = table.loc[table[line] == label, [x, y, line]]
        add_line(chart, part, x, y, label, "dashed" if label in dashed else "solid")
    chart.axes.set_yaxis_range(*y_range)
    finish(chart, words, _columns(x, y, line), list(colors), decimals=False)
    return chart


def draw_points(
    table: pd.DataFrame,
    x: str,
    y: str,
    point: str,
    looks: Mapping[str, Look],
    words: Words,
    hollow: pd.DataFrame | None = None,
) -> chartify.Chart:
    """A point for each label in the column `point`, over a logarithmic x axis.

    Args:
        table: columns `x`, `y` and `point`.
        x: column.
        y: column.
        point: column of labels.
        looks: of the labels, in the order of the legend.
        words: the chart's text.
        hollow: more rows, drawn as outlines in the colours of the labels.
    """
    chart = start(words, {label: look.color for label, look in looks.items()}, x_type="log")
    drawn = [(table, False)] if hollow is None else [(table, False), (hollow, True)]
    for rows, outlined in drawn:
        for label, look in looks.items():
            part = rows.loc[rows[point] == label, [x, y, point]]
            if len(part):
                add_points(chart, part, x, y, label, look, hollow=outlined)
    finish(chart, words, _columns(x, y, point), list(looks), decimals=False)
    return chart


def _label_ticks(axis: Axis, labels: Mapping[float, str]) -> None:
    """Labels at these places, without a line."""
    axis.ticker = list(labels)
    axis.major_label_overrides = {place: textwrap.fill(label, TICK_WIDTH) for place, label in labels.items()}
    axis.update(axis_line_color=None, major_tick_line_color=None)


def draw_heatmap(table: pd.DataFrame, x: str, y: str, value: str, words: Words) -> chartify.Chart:
    """A coloured cell for each row of `table`, darker for larger values; pairs without a row stay white."""
    chart = start(words, x_type="categorical", y_type="categorical")
    chart.plot.heatmap(table, x, y, value, color_palette="Blues")
    cells = chart.figure.renderers[-1]
    cells.name = VALUES
    scale = ColorBar(color_mapper=cells.glyph.fill_color.transform, major_label_text_font_size="11pt")
    chart.figure.add_layout(scale, "right")
    finish(chart, words, _columns(x, y, value), decimals=False)
    chart.figure.ygrid.visible = False
    return chart


def draw_pictures(
    rows: Sequence[tuple[str, Sequence[np.ndarray]]], words: Words, columns: Sequence[str] = ()
) -> chartify.Chart:
    """Labelled rows of square pictures in one chart.

    Args:
        rows: a label, and pictures of any size, each uint8 (H, H, 3).
        words: the chart's text.
        columns: labels under the pictures, if any.
    """
    chart = start(words)
    plot = chart.figure
    for row, (_, pictures) in enumerate(rows):
        for column, picture in enumerate(pictures):
            rgba = np.dstack([picture, np.full(picture.shape[:2], 255, np.uint8)])
            flat = np.ascontiguousarray(rgba[::-1]).view(np.uint32)[..., 0]  # bokeh counts rows from below
            plot.image_rgba([flat], x=column * 1.05, y=-(row + 1) * 1.05, dw=1, dh=1)
    finish(chart, words, (), decimals=False)
    labels = [label for label, _ in rows]
    _label_ticks(plot.yaxis, {-(row + 1) * 1.05 + 0.5: label for row, label in enumerate(labels)})
    _label_ticks(plot.xaxis, {column * 1.05 + 0.5: label for column, label in enumerate(columns)})
    plot.xaxis.visible = bool(columns)
    plot.grid.visible = False
    plot.match_aspect = True
    plot.width, plot.height = max(840, 200 + 180 * len(columns)), 150 + 180 * len(rows)
    return chart


def _columns(*names: str) -> Tooltips:
    return [(name, f"@{{{name}}}") for name in names]
