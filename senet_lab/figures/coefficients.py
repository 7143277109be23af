"""The chart of learned coefficients over epochs."""

from collections.abc import Mapping
from itertools import cycle

import pandas as pd

from senet_lab.figures.charts import Words, chartify, finish, start
from senet_lab.figures.marks import add_band, add_line
from senet_lab.figures.style import DASHES, Look

SYMBOLS = {"alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ"}
"""Symbols of coefficients; others are shown by name."""
TOOLTIPS = (
    ("coefficient", "@legend"),
    ("epoch", "@epoch"),
    ("mean", "@mean{0.0000}"),
    ("lowest", "@lowest{0.0000}"),
    ("highest", "@highest{0.0000}"),
)


def draw_coefficients(table: pd.DataFrame, looks: Mapping[str, Look]) -> chartify.Chart:
    """The chart of `analysis.coefficients.over_epochs`: lines in their colours, coefficients by dash.

    Args:
        table: values of at least one line.
        looks: the look of each line, in the order of the legend.
    """
    dashes = dict(zip(table["coefficient"].unique(), cycle(DASHES)))
    parts = {
        f"{line} {SYMBOLS.get(name, name)}": (part, looks[line].color, dashes[name])
        for line in looks
        for name in dashes
        if len(part := table[(table["line"] == line) & (table["coefficient"] == name)])
    }
    words = Words("", "", "Epoch", "Coefficient")
    chart = start(words, {label: color for label, (_, color, _) in parts.items()})
    for label, (part, _, dash) in parts.items():
        add_band(chart, part, "epoch", "lowest", "highest", label, fill=0.12)
        add_line(chart, part, "epoch", "mean", label, dash)
    finish(chart, words, TOOLTIPS, list(parts), decimals=False)
    return chart
