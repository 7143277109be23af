"""One Chartify chart a figure: a band and a line for each series, over the epochs that it has."""

import os
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
from bokeh.models import BoxZoomTool, CustomJSTickFormatter, HoverTool, ResetTool
from bokeh.models.annotations import Title

from senet_lab.analysis.baselines import published
from senet_lab.analysis.curves import curve
from senet_lab.analysis.grouping import Figure, Line
from senet_lab.config import Band

# Importing chartify loads ~/.chartify with an unsafe YAML loader; a folder that does not exist has no
# such files. Chartify glues file names to the string, hence the slash.
os.environ["CHARTIFY_CONFIG_DIR"] = f"{Path(__file__).with_name('no-chartify-config')}/"
import chartify

BANDS = {Band.std: "±1 sample standard deviation", Band.sem: "±1 standard error of the mean"}
HEIGHT = 500
"""Pixels of an interactive chart."""
TOOLTIPS = (
    ("line", "@line"),
    ("epoch", "@epoch"),
    ("mean error", "@mean{0.0000}"),
    ("std", "@std{0.0000}"),
    ("n", "@n"),
)
"""What hovering over a curve of errors shows: label and column."""
DECIMALS = """
const step = ticks.length > 1 ? Math.abs(ticks[1] - ticks[0]) : 0.01
return tick.toFixed(Math.max(0, Math.ceil(-Math.log10(step) - 1e-6)))
"""
"""Ticks with as many decimals as tell neighbours apart, zoomed in too; bokeh's own cut trailing zeros."""
NOTE_WIDTH = 130
"""Characters that fit on a line under the title."""
NOTE_HEIGHT = 16
"""Pixels that such a line takes."""


def draw(figure: Figure, band: Band, reference: bool, notes: Sequence[str]) -> chartify.Chart:
    """The chart of a figure, as it is printed.

    Args:
        figure: with at least one epoch.
        band: what the bands show.
        reference: add the published mean curves where there are any.
        notes: sentences for the small print.
    """
    chart = chartify.Chart(blank_labels=True)
    chart.style.set_color_palette(
        "accent", accent_values={line.label: line.style.color for line in figure.lines}
    )
    tables = {line.label: curve(line) for line in figure.lines}
    if band is not Band.none:
        for line in figure.lines:
            _draw_band(chart, line, tables[line.label], band)
    for line in figure.lines:
        _draw_line(chart, line, tables[line.label])
    if reference:
        for line in figure.lines:
            _draw_published(chart, line)

    chart.set_title(figure.title)
    chart.set_subtitle(_subtitle(tables, band))
    chart.figure.above[0].update(text_font_style="normal", text_color="#595959")
    if notes:
        _write_notes(chart, notes)
    _set_axes_and_legend(chart, tables)
    return chart


def make_interactive(chart: chartify.Chart, tooltips: Sequence[tuple[str, str]] = TOOLTIPS) -> None:
    """Turn the printed chart into the one for a browser: hover values and the page's width.

    Its title, subtitle and notes go: the page writes them as text that wraps and can be read aloud.
    Hovering shows `tooltips` over the renderers named "mean".
    """
    plot = chart.figure
    lines = [renderer for renderer in plot.renderers if renderer.name == "mean"]
    hover = HoverTool(renderers=lines, line_policy="nearest", tooltips=list(tooltips))
    plot.add_tools(hover, BoxZoomTool(), ResetTool())
    plot.output_backend = "canvas"
    plot.toolbar_location = "above"
    plot.sizing_mode = "stretch_width"
    plot.title.visible = False
    plot.above = []
    plot.height = HEIGHT
    plot.min_border_top = plot.min_border_right = plot.min_border_bottom = 10


def _draw_band(chart: chartify.Chart, line: Line, table: pd.DataFrame, band: Band) -> None:
    """The spread around the mean wherever two or more runs have an epoch."""
    for stretch in _stretches(table[table["n"] >= 2]):
        low, high = stretch["mean"] - stretch[band], stretch["mean"] + stretch[band]
        if len(stretch) == 1:  # an area over one epoch has no width
            bar = pd.DataFrame({"epoch": [stretch["epoch"].item()] * 2, "low": [low.item(), high.item()]})
            bar["line"] = line.label
            chart.plot.line(bar, "epoch", "low", "line", [line.label], line_width=6, alpha=0.3)
        else:
            edges = stretch[["epoch"]].assign(line=line.label, low=low, high=high)
            chart.plot.area(edges, "epoch", "low", "high", "line", [line.label])
            chart.figure.renderers[-1].glyph.line_color = None
        chart.figure.renderers[-1].name = "band"


def _draw_line(chart: chartify.Chart, line: Line, table: pd.DataFrame) -> None:
    for stretch in _stretches(table.assign(line=line.label)):
        if len(stretch) == 1:  # a line through one point has no length
            chart.plot.scatter(stretch, "epoch", "mean", color_column="line", color_order=[line.label])
        else:
            chart.plot.line(
                stretch, "epoch", "mean", "line", [line.label], line_dash=line.style.dash, line_width=2
            )
        renderer = chart.figure.renderers[-1]
        renderer.name = "mean"
        # Chartify keeps the drawn columns only; the hover shows these too.
        for column in ("std", "n"):
            renderer.data_source.add(stretch[column].to_numpy(), column)


def _draw_published(chart: chartify.Chart, line: Line) -> None:
    """The published curve as far as the line's own runs are to go: more would squash a short sweep."""
    known = published(line)
    if known is None:
        return
    table = known.curve[known.curve["epoch"] < line.config.epochs].assign(line=line.label)
    if len(table) == 1:
        chart.plot.scatter(table, "epoch", "mean", color_column="line", color_order=[line.label], alpha=0.4)
    else:
        dotted = {"line_dash": "dotted", "line_width": 2, "alpha": 0.8}
        chart.plot.line(table, "epoch", "mean", "line", [line.label], **dotted)
    chart.figure.renderers[-1].name = "published"


def _stretches(table: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """The parts of a series without a missing epoch inside, so that nothing is drawn across a gap."""
    for _, stretch in table.groupby((table["epoch"].diff() != 1).cumsum()):
        yield stretch.reset_index(drop=True)


def _subtitle(tables: dict[str, pd.DataFrame], band: Band) -> str:
    counts = pd.concat([table["n"] for table in tables.values()])
    fewest, most = counts.min(), counts.max()
    if most == 1:
        return "single runs, no band"
    mean = f"mean of {most} runs" if fewest == most else f"mean of up to {most} runs"
    if band is Band.none:
        return mean
    return f"{mean}, band: {BANDS[band]}"


def _write_notes(chart: chartify.Chart, notes: Sequence[str]) -> None:
    """Small print under the subtitle, on a figure that grows by its height."""
    plot = chart.figure
    lines = [line for note in notes for line in textwrap.wrap(note, NOTE_WIDTH)]
    small = Title(text="\n".join(lines), name="notes", text_font="helvetica", text_color="#595959")
    small.text_font_size, small.text_font_style = "10pt", "normal"
    plot.above = [small, *plot.above]  # the first stands next to the plot
    plot.height += NOTE_HEIGHT * len(lines)


def _set_axes_and_legend(chart: chartify.Chart, tables: dict[str, pd.DataFrame]) -> None:
    style_axes(chart, "Epoch", "Error")
    plot = chart.figure
    plot.yaxis.formatter = CustomJSTickFormatter(code=DECIMALS)
    plot.x_range.default_span = 1  # around a lone epoch
    plot.xaxis.ticker.min_interval = 1
    plot.xaxis.ticker.num_minor_ticks = 0
    chart.set_legend_location("outside_right", orientation="vertical")
    legend = plot.legend[0]
    legend.items = sorted(legend.items, key=lambda item: list(tables).index(item.label.value))
    legend.click_policy = "hide"


def style_axes(chart: chartify.Chart, x_label: str, y_label: str) -> None:
    """Labels, and greys that can be read in print."""
    chart.axes.set_xaxis_label(x_label)
    chart.axes.set_yaxis_label(y_label)
    plot = chart.figure
    plot.ygrid.grid_line_color = "#E6E6E6"
    plot.axis.major_label_text_color = "#595959"  # chartify's grey is too pale for small print
    plot.axis.axis_label_text_color = "#333333"
    plot.toolbar_location = None
    plot.output_backend = "svg"  # vectors in the legend too
