"""The chart builder: Chartify charts of lines, bands, points, cells and pictures from tidy frames.

Charts are built for print; `make_interactive` converts one for the browser.
"""

import os
import textwrap
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from bokeh.core.properties import value
from bokeh.io.state import curstate
from bokeh.models import (
    BoxZoomTool,
    ColumnDataSource,
    CustomJSTickFormatter,
    FixedTicker,
    HoverTool,
    LinearAxis,
    ResetTool,
)
from bokeh.models.annotations import BoxAnnotation, ColorBar, Span, Title

from senet_lab.figures.style import (
    FADED,
    FILL,
    FONT,
    GRID,
    INK,
    LIGHT_INK,
    MARKERS,
    SMALL_INK,
    Look,
    colored,
    distinct,
)
from senet_lab.text import label as harmless

# Importing chartify loads ~/.chartify with an unsafe YAML loader; a folder that does not exist has no
# such files. Chartify glues file names to the string, hence the slash.
os.environ["CHARTIFY_CONFIG_DIR"] = f"{Path(__file__).with_name('no-chartify-config')}/"
if curstate().notebook_type is None:
    curstate().notebook_type = "jupyter"  # else bokeh puts 8 MB of JavaScript into a notebook
import chartify

HEIGHT = 500
"""Pixels of an interactive chart."""
MARGINS = 60
"""Pixels of an interactive chart besides its plot."""
PRINT_HEIGHT, PRINT_MARGINS = 540, 160
"""The same in print, where title and subtitle belong to the chart; the height is chartify's."""
DECIMALS = """
const step = ticks.length > 1 ? Math.abs(ticks[1] - ticks[0]) : 0.01
return tick.toFixed(Math.max(0, Math.ceil(-Math.log10(step) - 1e-6))).replace("-", "−")
"""
"""Ticks with enough decimals to differ, even zoomed in; bokeh's own cut trailing zeros."""
PLAIN = "return String(+tick.toPrecision(3))"
"""Ticks of a logarithmic axis as plain numbers."""
NOTE_WIDTH = 110
"""Characters per line under the title."""
TICK_WIDTH = 24
"""Characters on a line under a picture."""
NOTE_HEIGHT = 16
"""Pixels per line under the title."""
TITLE_WIDTH = 56
"""Characters per line of the title."""
TITLE_HEIGHT = 26
"""Pixels per line of the title."""
LABEL_WIDTH = 32
"""Characters per line of a row's label."""
LABEL_HEIGHT = 16
"""Pixels per line of a row's label."""
ROW_GAP = 12
"""Pixels between the labels of two rows."""
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


@dataclass(frozen=True)
class Curve:
    """A labelled curve, split where values are missing."""

    lines: Sequence[pd.DataFrame]
    bands: Sequence[pd.DataFrame]
    """With the columns `low` and `high`."""
    last: float
    """Value for the choice of the coloured curves, the lower the better."""


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
    title = textwrap.wrap(harmless(words.title), TITLE_WIDTH)
    subtitle = textwrap.wrap(harmless(words.subtitle), NOTE_WIDTH)
    chart.set_title("\n".join(title))
    chart.set_subtitle("\n".join(subtitle))
    chart.figure.height += TITLE_HEIGHT * len(title[1:]) + NOTE_HEIGHT * len(subtitle[1:])
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


def start_curves(
    words: Words,
    curves: Mapping[str, Curve],
    looks: Mapping[str, Look],
    fixed: Collection[str],
    x: str,
    y: str,
    x_type: str = "linear",
    y_type: str = "linear",
) -> tuple[chartify.Chart, list[str]]:
    """A chart of curves with bands; of many, the first and the best in colour, and the others grey.

    Args:
        words: its text.
        curves: in the order of the legend; the first is the baseline.
        looks: of all of them.
        fixed: labels that keep their looks.
        x: column.
        y: column.
        x_type: as `start` takes it.
        y_type: the same.

    Returns:
        The chart without its finish, and the labels of the legend: the coloured ones, then all others as one.
    """
    bright = colored({label: curve.last for label, curve in curves.items()})
    faded = [label for label in curves if label not in bright]
    rest = f"{len(faded)} others"
    looks = distinct(bright, looks, fixed)
    chart = start(words, {label: looks[label].color for label in bright} | {rest: FADED}, x_type, y_type)
    for line in (line for label in faded for line in curves[label].lines):
        add_line(chart, line, x, y, rest, width=1)
    for label in bright:
        # With many curves, bands have edges, and only the first is filled.
        fill = FILL if label == bright[0] or not faded else 0.0
        outline = looks[label].dash if faded else None
        for band in curves[label].bands:
            add_band(chart, band, x, "low", "high", label, fill, outline)
    for label in bright:
        for line in curves[label].lines:
            add_line(chart, line, x, y, label, looks[label].dash)
    return chart, [*bright, rest]


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


def add_intervals(
    chart: chartify.Chart, table: pd.DataFrame, low: str, high: str, y: str, label: str, look: Look
) -> None:
    """Draw a horizontal bar from `low` to `high` for each row that has both."""
    drawn = table.dropna(subset=[low, high])
    if len(drawn):
        chart.figure.segment(
            x0=low,
            x1=high,
            y0=y,
            y1=y,
            source=ColumnDataSource(drawn),
            line_color=look.color,
            line_width=2,
            legend_label=label,
            name="interval",
        )


def shade(chart: chartify.Chart, low: float, high: float) -> None:
    """Shade the part of the x axis from `low` to `high`, behind everything else."""
    box = BoxAnnotation(left=low, right=high, level="underlay")
    box.update(fill_color=FADED, fill_alpha=0.3, line_color=None)
    chart.figure.add_layout(box)


def mark(chart: chartify.Chart, x: float, look: Look) -> None:
    """Draw a vertical line at a place of the x axis, behind everything else."""
    line = Span(location=x, dimension="height", line_color=look.color, line_dash=look.dash, level="underlay")
    chart.figure.add_layout(line)


def add_text(chart: chartify.Chart, table: pd.DataFrame, x: str, y: str, text: str, **glyph: Any) -> None:
    """Write the column `text` at a place for each row."""
    source = ColumnDataSource(table)
    font = {"text_font": value(FONT), "text_baseline": "middle", "text_font_size": "11pt"}
    chart.figure.text(x, y, text, source=source, name="text", **font, **glyph)


def label_rows(chart: chartify.Chart, labels: Mapping[float, str], side: str = "left") -> None:
    """Write labels beside the plot, by their places on the y axis; they take the room that they need."""
    plot = chart.figure
    axis = plot.yaxis[0]
    if side == "right":
        size = axis.major_label_text_font_size
        axis = LinearAxis(major_label_text_font=FONT, major_label_text_font_size=size)
        plot.add_layout(axis, "right")
    _label_ticks(axis, labels, LABEL_WIDTH)


def _label_ticks(axis: Any, labels: Mapping[float, str], width: int) -> None:
    """Write labels of at most `width` characters a line at these places of an axis, without its line."""
    axis.ticker = FixedTicker(ticks=list(labels))
    axis.major_label_overrides = {place: wrapped(label, width) for place, label in labels.items()}
    axis.update(axis_line_color=None, major_tick_line_color=None, minor_tick_line_color=None)


def fit_rows(chart: chartify.Chart, labels: Iterable[str], room: int = 0) -> int:
    """Set a chart's height in print so that its rows' labels stand apart; returns its height in the browser.

    Args:
        chart: with its title.
        labels: of the rows.
        room: further pixels.
    """
    lines = [wrapped(label).count("\n") + 1 for label in labels]
    height = len(lines) * (LABEL_HEIGHT * max(lines) + ROW_GAP) + room
    chart.figure.height += height + PRINT_MARGINS - PRINT_HEIGHT
    return height + MARGINS


def wrapped(label: str, width: int = LABEL_WIDTH) -> str:
    """A label as plain text on lines of at most `width` characters."""
    return textwrap.fill(harmless(label), width)


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
    style_axes(chart, harmless(words.x), harmless(words.y))
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
        for item in legend.items:
            item.label = value(wrapped(item.label.value))
        legend.click_policy = "hide"


def make_interactive(chart: chartify.Chart, height: int = HEIGHT) -> None:
    """Convert a chart from print to the browser: zoom tools and the page's width.

    Title, subtitle and notes are removed: the page has them as text that wraps and is accessible.

    Args:
        chart: as printed.
        height: pixels.
    """
    plot = chart.figure
    plot.add_tools(BoxZoomTool(), ResetTool())
    plot.output_backend = "canvas"
    plot.toolbar_location = "above"
    plot.sizing_mode = "stretch_width"
    plot.title.visible = False
    plot.above = []
    plot.height = height
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


def draw_heatmap(
    table: pd.DataFrame, x: str, y: str, number: str, words: Words, text: str | None = None
) -> chartify.Chart:
    """A coloured cell for each row of `table`, darker for larger values; pairs without a row stay white.

    Args:
        table: a row a cell.
        x: column of labels, from left to right.
        y: column of labels, from bottom to top.
        number: column of the values.
        words: the text around the cells.
        text: column of the text in the cells, if they have any.
    """
    chart = start(words, x_type="categorical", y_type="categorical")
    chart.plot.heatmap(table, x, y, number, color_palette="Blues")
    cells = chart.figure.renderers[-1]
    cells.name = VALUES
    scale = ColorBar(color_mapper=cells.glyph.fill_color.transform, major_label_text_font_size="11pt")
    chart.figure.add_layout(scale, "right")
    if text is not None:
        dark = table[number] > (table[number].min() + table[number].max()) / 2
        inked = table.assign(ink=np.where(dark, LIGHT_INK, INK))
        add_text(chart, inked, x, y, text, text_color="ink", text_align="center")
    finish(chart, words, _columns(x, y, text or number), decimals=False)
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
    label_rows(chart, {0.5 - (row + 1) * 1.05: label for row, (label, _) in enumerate(rows)})
    places = {column * 1.05 + 0.5: label for column, label in enumerate(columns)}
    _label_ticks(plot.xaxis[0], places, TICK_WIDTH)
    plot.xaxis.visible = bool(columns)
    plot.grid.visible = False
    plot.match_aspect = True
    plot.width, plot.height = max(840, 200 + 180 * len(columns)), 150 + 180 * len(rows)
    return chart


def _columns(*names: str) -> Tooltips:
    return [(name, f"@{{{name}}}") for name in names]
