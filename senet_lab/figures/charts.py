"""The frame of every chart: words, size, axes, legend and tooltips, for print and for the browser.

`marks.py` draws on it, `labels.py` labels its rows, `kinds.py` holds whole charts. A chart is built for
print; `make_interactive` converts it for the browser.
"""

import os
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bokeh.core.properties import value
from bokeh.io.state import curstate
from bokeh.models import BoxZoomTool, CustomJSTickFormatter, HoverTool, ResetTool
from bokeh.models.annotations import Title

from senet_lab.figures.style import FONT, GRID, INK, SMALL_INK
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
NOTE_HEIGHT = 16
"""Pixels per line under the title."""
TITLE_WIDTH = 56
"""Characters per line of the title."""
TITLE_HEIGHT = 26
"""Pixels per line of the title."""
LABEL_WIDTH = 32
"""Characters per line of a label in the legend or beside a row."""
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
        colors: color of each label to be drawn.
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


def count_along_x(chart: chartify.Chart) -> None:
    """Tick the x axis at whole numbers alone."""
    ticker = chart.figure.xaxis.ticker
    ticker.min_interval = 1
    ticker.num_minor_ticks = 0


def style_axes(chart: chartify.Chart, x_label: str, y_label: str) -> None:
    """Set axis labels, and greys that are legible in print."""
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


def wrapped(label: str, width: int = LABEL_WIDTH) -> str:
    """A label as plain text on lines of at most `width` characters."""
    return textwrap.fill(harmless(label), width)
