"""Learned coefficients of activations over epochs: α and β of TAct and mTAct."""

from collections.abc import Mapping

import pandas as pd

from senet_lab.analysis.grouping import Figure
from senet_lab.figures.charts import chartify, make_interactive, style_axes
from senet_lab.records.sweep import SweepDirectory

SYMBOLS = {"alpha": ("α", "solid"), "beta": ("β", "dashed")}
"""Column of `activations.csv`: how it is written, and drawn."""
TOOLTIPS = (
    ("coefficient", "@coefficient"),
    ("epoch", "@epoch"),
    ("mean", "@mean{0.0000}"),
    ("lowest", "@low{0.0000}"),
    ("highest", "@high{0.0000}"),
)


def coefficients(figure: Figure, sweep: SweepDirectory) -> pd.DataFrame:
    """Every learned value of a figure's runs.

    Returns:
        Columns `line` (the line's label), `seed`, `epoch`, `site`, `alpha`, `beta`; empty where nothing
        is learned.
    """
    parts = [
        sweep.run(run.directory).activations().assign(line=line.label, seed=run.config.seed)
        for line in figure.lines
        for run in line.runs
    ]
    return pd.concat(parts, ignore_index=True)


def over_epochs(values: pd.DataFrame) -> pd.DataFrame:
    """Mean and range over sites and seeds: columns `line`, `name`, `epoch`, `mean`, `low`, `high`."""
    long = values.melt(["line", "epoch"], list(SYMBOLS), "name", "value")
    grouped = long.groupby(["line", "name", "epoch"], sort=False)["value"]
    return grouped.agg(mean="mean", low="min", high="max").reset_index()


def last_values(values: pd.DataFrame) -> pd.DataFrame:
    """α and β of each site at the last epoch of each run: mean and std over `n` runs, and over channels."""
    last = values[values["epoch"] == values.groupby(["line", "seed"])["epoch"].transform("max")]
    sites = last["site"].str.replace(r"\[\d+\]$", "", regex=True)  # per channel, `site[channel]`
    grouped = last.assign(site=sites).groupby(["line", "site"], sort=False)
    columns = {f"{name}_{what}": (name, what) for name in SYMBOLS for what in ("mean", "std")}
    return grouped.agg(n=("seed", "nunique"), **columns).reset_index()


def draw_coefficients(table: pd.DataFrame, colors: Mapping[str, str]) -> chartify.Chart:
    """The chart, for a browser, of what `over_epochs` gives; `colors` by label, in legend order."""
    chart = chartify.Chart(blank_labels=True)
    names = {(label, name): f"{label} {symbol}" for label in colors for name, (symbol, _) in SYMBOLS.items()}
    chart.style.set_color_palette(
        "accent", accent_values={text: colors[label] for (label, _), text in names.items()}
    )
    for (label, name), text in names.items():
        part = table[(table["line"] == label) & (table["name"] == name)].assign(coefficient=text)
        if part.empty:
            continue
        chart.plot.area(part, "epoch", "low", "high", "coefficient", [text])
        chart.figure.renderers[-1].glyph.update(line_color=None, fill_alpha=0.12)
        dash = SYMBOLS[name][1]
        chart.plot.line(part, "epoch", "mean", "coefficient", [text], line_dash=dash, line_width=2)
        renderer = chart.figure.renderers[-1]
        renderer.name = "mean"
        for column in ("low", "high"):
            renderer.data_source.add(part[column].to_numpy(), column)
    style_axes(chart, "Epoch", "Coefficient")
    chart.set_legend_location("outside_right", orientation="vertical")
    chart.figure.legend[0].click_policy = "hide"
    make_interactive(chart, TOOLTIPS)
    return chart
