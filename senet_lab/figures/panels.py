"""Charts of panels: mean curve and band of each line over its epochs."""

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd
from bokeh.models import NumeralTickFormatter

from senet_lab.analysis.curves import panel_notes
from senet_lab.analysis.grouping import Panel
from senet_lab.analysis.published import Others
from senet_lab.config import Band, Scale, XAxis
from senet_lab.figures.axes import X_LABELS, Axes
from senet_lab.figures.charts import Tooltips, Words, chartify, count_along_x, finish
from senet_lab.figures.kinds import Curve, start_curves
from senet_lab.figures.marks import add_band, add_line
from senet_lab.figures.style import Look

BANDS = {Band.std: "±1 sample standard deviation", Band.sem: "±1 standard error of the mean"}
PUBLISHED = "published"
"""Name of the renderers of published curves, and with the suffix ` band` of their bands."""


def draw(
    panel: Panel,
    table: pd.DataFrame,
    looks: Mapping[str, Look],
    axes: Axes,
    band: Band,
    others: Others | None = None,
    notes: Sequence[str] = (),
) -> chartify.Chart:
    """The chart of a panel, for print.

    Args:
        panel: the panel whose lines are drawn.
        table: its rows of `curves.curves`, at least one.
        looks: looks of its lines; see `looks_of`.
        axes: metric and x axis.
        band: band around the means.
        others: published values to draw as well.
        notes: sentences for the small print.
    """
    table = _drawable(table, axes)
    sign = 1 if axes.metric.lower_is_better else -1
    series = {
        str(label): Curve(list(_stretches(part)), _bands(part, axes, band), sign * part["mean"].iloc[-1])
        for label, part in table.groupby("line", sort=False)
    }
    subtitle = _subtitle(panel, table, band)
    words = Words(axes.title(panel), subtitle, X_LABELS[axes.x], axes.metric.axis, notes=notes)
    fixed = [line.label for line in panel.lines if line.color]
    chart, order = start_curves(words, series, looks, fixed, str(axes.x), "mean", y_type=str(axes.y_scale))
    if others is not None:
        _add_published(chart, panel, others, axes, band, order)
    _set_axes(chart, axes)
    finish(chart, words, _tooltips(axes), order, decimals=axes.y_scale is Scale.linear)
    return chart


def remarks(panel: Panel, table: pd.DataFrame, axes: Axes, others: Others | None = None) -> list[str]:
    """Notes of the chart that `draw` makes of the same arguments: `curves.panel_notes`, and what it shows."""
    sentences = panel_notes(panel, table)
    if others is not None and panel.name in others.notes:
        sentences.append(others.notes[panel.name])
    if axes.y_scale is Scale.log and (table["mean"] <= 0).any():
        sentences.append("Means of 0 are left out on the logarithmic axis.")
    return sentences


def _drawable(table: pd.DataFrame, axes: Axes) -> pd.DataFrame:
    """The rows of `curves` that can be drawn on the axes."""
    table = table.dropna(subset=str(axes.x))
    return table[table["mean"] > 0] if axes.y_scale is Scale.log else table


def _bands(table: pd.DataFrame, axes: Axes, band: Band) -> list[pd.DataFrame]:
    """The band at epochs with two or more runs."""
    if band is Band.none:
        return []
    half = table[str(band)]
    low = table["mean"] - half
    if axes.y_scale is Scale.log:  # clip a band that reaches 0 below the visible range
        low = low.clip(lower=table["mean"].min() / 2)
    edges = table.assign(low=low, high=table["mean"] + half)
    return list(_stretches(edges[edges["n"] >= 2]))


def _add_published(
    chart: chartify.Chart, panel: Panel, others: Others, axes: Axes, band: Band, labels: Sequence[str]
) -> None:
    """Draw published curves up to the planned epochs of our runs, so that short sweeps stay readable."""
    if axes.x is not XAxis.epoch:
        return
    for line in panel.lines:
        mine = (others.means["figure"] == panel.name) & (others.means["line"] == line.label)
        table = others.means[mine & (others.means["epoch"] < line.config.epochs)]
        if table.empty or line.label not in labels:
            continue
        if band is not Band.none and table[str(band)].notna().any():
            edges = table.assign(low=table["mean"] - table[band], high=table["mean"] + table[band])
            add_band(chart, edges, "epoch", "low", "high", line.label, 0.0, "dotted", f"{PUBLISHED} band")
        alpha = 0.8 if len(table) > 1 else 0.4
        add_line(chart, table, "epoch", "mean", line.label, "dotted", PUBLISHED, alpha=alpha)


def _stretches(table: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Split a series at missing epochs, so that no line bridges a gap."""
    for _, stretch in table.groupby((table["epoch"].diff() != 1).cumsum()):
        yield stretch.reset_index(drop=True)


def _subtitle(panel: Panel, table: pd.DataFrame, band: Band) -> str:
    fewest, most = table["n"].min(), table["n"].max()
    if most == 1:
        runs = "single runs, no band"
    else:
        mean = f"mean of {most} runs" if fewest == most else f"mean of up to {most} runs"
        runs = mean if band is Band.none else f"{mean}, band: {BANDS[band]}"
    return f"{panel.data}; {runs}"


def _set_axes(chart: chartify.Chart, axes: Axes) -> None:
    plot = chart.figure
    if axes.x is XAxis.epoch:
        plot.x_range.default_span = 1  # around a single epoch
        count_along_x(chart)
    else:
        plot.xaxis.formatter = NumeralTickFormatter(format="0.[0]a")
    if axes.y_range is not None:
        chart.axes.set_yaxis_range(*axes.y_range)


def _tooltips(axes: Axes) -> Tooltips:
    number = f"{{0.{'0' * axes.metric.decimals}}}"
    over = [] if axes.x is XAxis.epoch else [(str(axes.x), f"@{axes.x}{{0,0}}")]
    shown = [(f"mean {axes.metric.noun}", f"@mean{number}"), ("std", f"@std{number}"), ("n", "@n")]
    return [("line", "@line"), ("epoch", "@epoch"), *over, *shown]
