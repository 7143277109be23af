"""Labels at places of an axis, and the height of charts with labelled rows."""

from collections.abc import Iterable, Mapping
from typing import Any

from bokeh.models import FixedTicker, LinearAxis

from senet_lab.figures.charts import LABEL_WIDTH, MARGINS, PRINT_HEIGHT, PRINT_MARGINS, chartify, wrapped
from senet_lab.figures.style import FONT

LABEL_HEIGHT = 16
"""Pixels per line of a row's label."""
ROW_GAP = 12
"""Pixels between the labels of two rows."""


def label_rows(chart: chartify.Chart, labels: Mapping[float, str], side: str = "left") -> None:
    """Write labels beside the plot at these places of the y axis; the margin grows with the labels."""
    plot = chart.figure
    axis = plot.yaxis[0]
    if side == "right":
        size = axis.major_label_text_font_size
        axis = LinearAxis(major_label_text_font=FONT, major_label_text_font_size=size)
        plot.add_layout(axis, "right")
    label_ticks(axis, labels, LABEL_WIDTH)


def label_ticks(axis: Any, labels: Mapping[float, str], width: int) -> None:
    """Write labels, wrapped at `width` characters, at these places of an axis, and hide its line."""
    axis.ticker = FixedTicker(ticks=list(labels))
    axis.major_label_overrides = {place: wrapped(label, width) for place, label in labels.items()}
    axis.update(axis_line_color=None, major_tick_line_color=None, minor_tick_line_color=None)


def fit_rows(chart: chartify.Chart, labels: Iterable[str], room: int = 0) -> int:
    """Set a chart's height in print so that row labels do not overlap; returns its height in the browser.

    Args:
        chart: the chart, with its title.
        labels: labels of the rows.
        room: further pixels.
    """
    lines = [wrapped(label).count("\n") + 1 for label in labels]
    height = len(lines) * (LABEL_HEIGHT * max(lines) + ROW_GAP) + room
    chart.figure.height += height + PRINT_MARGINS - PRINT_HEIGHT
    return height + MARGINS
