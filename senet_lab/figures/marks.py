"""Marks on a chart, from tidy frames: lines, bands, points, intervals, shades and text."""

from typing import Any

import pandas as pd
from bokeh.core.properties import value
from bokeh.models import ColumnDataSource
from bokeh.models.annotations import BoxAnnotation, Span

from senet_lab.figures.charts import VALUES, chartify
from senet_lab.figures.style import FADED, FILL, FONT, MARKERS, Look


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
        chart: the chart to draw on.
        table: one row per place on the x axis.
        x: column.
        low: column.
        high: column.
        label: label in the legend.
        fill: opacity.
        outline: dash of the edges, or None for no edges.
        name: name of the renderer.
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
    """Draw a point for each row, in the look of `label`; a hollow point has only an outline."""
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
    """Write each row's column `text` at its place."""
    source = ColumnDataSource(table)
    font = {"text_font": value(FONT), "text_baseline": "middle", "text_font_size": "11pt"}
    chart.figure.text(x, y, text, source=source, name="text", **font, **glyph)


def _add_columns(chart: chartify.Chart, table: pd.DataFrame, name: str) -> None:
    """Name the newest renderer, and add the columns that Chartify left out, for its tooltips."""
    renderer = chart.figure.renderers[-1]
    renderer.name = name
    for column in table.columns.difference(renderer.data_source.data):
        renderer.data_source.add(table[column].to_numpy(), column)
