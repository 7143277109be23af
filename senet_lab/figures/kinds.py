"""Kinds of charts, a function each from a tidy frame: curves, lines, points, heat maps, pictures."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from bokeh.models.annotations import ColorBar

from senet_lab.figures.charts import VALUES, Tooltips, Words, chartify, finish, start
from senet_lab.figures.labels import label_rows, label_ticks
from senet_lab.figures.marks import add_band, add_line, add_points, add_text
from senet_lab.figures.style import FADED, FILL, INK, LIGHT_INK, Look, colored, distinct
from senet_lab.text import counted

TICK_WIDTH = 24
"""Characters per line under a picture."""


@dataclass(frozen=True)
class Curve:
    """A labelled curve, split where values are missing."""

    lines: Sequence[pd.DataFrame]
    bands: Sequence[pd.DataFrame]
    """With the columns `low` and `high`."""
    last: float
    """Value by which the coloured curves are chosen; lower is better."""


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
    """A chart of curves with bands; if there are many, only the first and the best ones are coloured.

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
    rest = counted(len(faded), "other")
    looks = distinct(bright, looks, fixed)
    chart = start(words, {label: looks[label].color for label in bright} | {rest: FADED}, x_type, y_type)
    for line in (line for label in faded for line in curves[label].lines):
        add_line(chart, line, x, y, rest, width=1)
    for label in bright:
        # With many curves, bands have edges, and only the first is filled.
        fill = FILL if label == bright[0] or not faded else 0.0
        for band in curves[label].bands:
            add_band(chart, band, x, "low", "high", label, fill, looks[label].dash if faded else None)
    for label in bright:
        for line in curves[label].lines:
            add_line(chart, line, x, y, label, looks[label].dash)
    return chart, [*bright, rest]


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
        table: one row per cell.
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
    mapper = cells.glyph.fill_color.transform
    if mapper.low == mapper.high:
        mapper.high += 1  # equal values are light, as their text is dark
    chart.figure.add_layout(ColorBar(color_mapper=mapper, major_label_text_font_size="11pt"), "right")
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
        rows: for each row a label, and pictures of any size, each uint8 (H, H, 3).
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
    label_ticks(plot.xaxis[0], places, TICK_WIDTH)
    plot.xaxis.visible = bool(columns)
    plot.grid.visible = False
    plot.match_aspect = True
    plot.width, plot.height = max(840, 200 + 180 * len(columns)), 150 + 180 * len(rows)
    return chart


def _columns(*names: str) -> Tooltips:
    return [(name, f"@{{{name}}}") for name in names]
