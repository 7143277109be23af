"""Charts of any table through Chartify: lines, points, a heat map, pictures in rows."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from bokeh.models.annotations import ColorBar

from senet_lab.analysis.grouping import DASHES, Style
from senet_lab.figures.charts import chartify, style_axes
from senet_lab.figures.export import Drawing, compile_chart

MARKERS = dict(zip(DASHES, ("circle", "square", "triangle", "diamond"), strict=True))
"""What tells points of one colour apart, as dashes do lines."""


@dataclass(frozen=True)
class Words:
    """What is written on a chart, and what the table below it holds."""

    title: str
    subtitle: str
    x: str
    y: str
    caption: str


def draw_lines(
    table: pd.DataFrame,
    x: str,
    y: str,
    line: str,
    colors: Mapping[str, str],
    words: Words,
    y_range: tuple[float, float],
    dashed: Collection[str] = (),
) -> Drawing:
    """A line for each label in the column `line`, in the order of `colors`; the last one is on top."""
    chart = _chart(words, colors)
    for label in colors:
        part = table[table[line] == label]
        dash = "dashed" if label in dashed else "solid"
        chart.plot.line(part, x, y, line, [label], line_width=2, line_dash=dash)
        chart.figure.renderers[-1].name = "mean"
    chart.axes.set_yaxis_range(*y_range)
    _finish(chart, words)
    return _compile(chart, table, (x, y, line), words)


def draw_points(
    table: pd.DataFrame, x: str, y: str, point: str, styles: Mapping[str, Style], words: Words
) -> Drawing:
    """A point for each label in the column `point`, over a logarithmic x axis."""
    chart = _chart(words, {label: style.color for label, style in styles.items()}, x_axis_type="log")
    for label, style in styles.items():
        part = table[table[point] == label]
        chart.plot.scatter(part, x, y, None, point, [label], marker=MARKERS[style.dash])
        chart.figure.renderers[-1].name = "mean"
    _finish(chart, words)
    return _compile(chart, table, (x, y, point), words)


def draw_heatmap(table: pd.DataFrame, x: str, y: str, value: str, words: Words) -> Drawing:
    """A coloured cell for each row of `table`, the darker the more; pairs that have no row stay white."""
    chart = chartify.Chart(blank_labels=True, x_axis_type="categorical", y_axis_type="categorical")
    chart.set_title(words.title)
    chart.set_subtitle(words.subtitle)
    chart.plot.heatmap(table, x, y, value, color_palette="Blues")
    cells = chart.figure.renderers[-1]
    cells.name = "mean"
    scale = ColorBar(color_mapper=cells.glyph.fill_color.transform, major_label_text_font_size="11pt")
    chart.figure.add_layout(scale, "right")
    style_axes(chart, words.x, words.y)
    chart.figure.ygrid.visible = False
    return _compile(chart, table, (x, y, value), words)


def draw_pictures(rows: Sequence[tuple[str, Sequence[np.ndarray]]], words: Words) -> Drawing:
    """Labelled rows of square pictures, each uint8 (H, H, 3), in one chart."""
    chart = chartify.Chart(blank_labels=True)
    chart.set_title(words.title)
    chart.set_subtitle(words.subtitle)
    plot = chart.figure
    for row, (_, pictures) in enumerate(rows):
        for column, picture in enumerate(pictures):
            rgba = np.dstack([picture, np.full(picture.shape[:2], 255, np.uint8)])
            flat = np.ascontiguousarray(rgba[::-1]).view(np.uint32)[..., 0]  # bokeh counts rows from below
            plot.image_rgba([flat], x=column * 1.05, y=-(row + 1) * 1.05, dw=1, dh=1)
    style_axes(chart, words.x, words.y)
    plot.yaxis.ticker = [-(row + 1) * 1.05 + 0.5 for row in range(len(rows))]
    plot.yaxis.major_label_overrides = dict(
        zip(plot.yaxis.ticker.ticks, (label for label, _ in rows), strict=True)
    )
    plot.yaxis.update(axis_line_color=None, major_tick_line_color=None)
    plot.xaxis.visible = False
    plot.grid.visible = False
    plot.match_aspect = True
    plot.width, plot.height = 840, 150 + 180 * len(rows)
    return _compile(chart, pd.DataFrame({"image": [label for label, _ in rows]}), (), words)


def _chart(words: Words, colors: Mapping[str, str], x_axis_type: str = "linear") -> chartify.Chart:
    chart = chartify.Chart(blank_labels=True, x_axis_type=x_axis_type)
    chart.style.set_color_palette("accent", accent_values=dict(colors))
    chart.set_title(words.title)
    chart.set_subtitle(words.subtitle)
    return chart


def _finish(chart: chartify.Chart, words: Words) -> None:
    style_axes(chart, words.x, words.y)
    chart.set_legend_location("outside_right", orientation="vertical")
    chart.figure.legend[0].click_policy = "hide"


def _compile(chart: chartify.Chart, table: pd.DataFrame, shown: Sequence[str], words: Words) -> Drawing:
    chart.figure.above[0].update(text_font_style="normal", text_color="#595959")
    tooltips = [(column, f"@{{{column}}}") for column in shown]
    return compile_chart(chart, [], table, tooltips, words.caption)
