"""A chart in its two output forms: an interactive page, and JSON for the printed picture."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from bokeh.embed import json_item

from senet_lab.figures.charts import chartify, make_interactive
from senet_lab.figures.page import Section, render, table


@dataclass(frozen=True)
class Drawing:
    """A chart in its two output forms."""

    html: str
    item: str
    """The printed form as JSON text, because chromedriver would sort the keys of an object."""
    width: int
    height: int
    """Height in CSS pixels."""


def compile_chart(
    chart: chartify.Chart,
    notes: Sequence[str],
    values: pd.DataFrame,
    caption: str = "Values at the last epoch",
) -> Drawing:
    """Export a chart in its printed and its interactive form.

    Args:
        chart: as printed; interactive afterwards.
        notes: sentences that the page shows above the chart.
        values: the table below the chart.
        caption: of the table.
    """
    plot = chart.figure
    item, width, height = json.dumps(json_item(plot)), plot.width, plot.height
    make_interactive(chart)
    headings = {name: name for name in values.columns}
    section = Section(
        chart.title,
        plot=plot,
        tables=[table(caption, values, headings, is_folded=True)],
        alternative=f"its values are in the table below: {caption}",
    )
    return Drawing(render(chart.title, [chart.subtitle, *notes], [section]), item, width, height)
