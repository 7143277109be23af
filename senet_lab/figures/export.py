"""Charts in their two output forms: an interactive page, and JSON for printed pictures."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from bokeh.embed import json_item

from senet_lab.figures.charts import HEIGHT, chartify, make_interactive
from senet_lab.figures.page import Section, render, table


@dataclass(frozen=True)
class Drawing:
    """A chart in its two output forms."""

    html: str
    """The interactive page, self-contained."""
    item: str
    """The printed form as JSON text, because chromedriver would sort the keys of an object."""
    width: int
    """CSS pixels of the printed form."""
    height: int
    """CSS pixels of the printed form."""


def compile_chart(
    chart: chartify.Chart,
    notes: Sequence[str],
    values: pd.DataFrame,
    caption: str = "Values at the last epoch",
    height: int = HEIGHT,
) -> Drawing:
    """Export a chart in its printed and its interactive form.

    Args:
        chart: the chart in printed form; interactive afterwards.
        notes: sentences above the chart on the page.
        values: the table below the chart.
        caption: caption of the table.
        height: pixels of the interactive form.
    """
    plot = chart.figure
    item, width, height = json.dumps(json_item(plot)), plot.width, plot.height
    make_interactive(chart, height)
    headings = {name: name for name in values.columns}
    section = Section(
        chart.title,
        plot=plot,
        tables=[table(caption, values, headings, is_folded=True)],
        alternative=f"its values are in the table below: {caption}",
    )
    return Drawing(render(chart.title, [chart.subtitle, *notes], [section]), item, width, height)


@dataclass(frozen=True)
class Picture:
    """A chart with its values, ready to become a file or a part of a page."""

    name: str
    """File name without extension."""
    chart: chartify.Chart
    values: pd.DataFrame
    notes: Sequence[str] = ()
    height: int = HEIGHT
    """Pixels of the interactive form."""

    def drawing(self) -> Drawing:
        """The picture for files; not after `section`."""
        return compile_chart(self.chart, self.notes, self.values, "Values", self.height)

    def section(self) -> Section:
        """The picture for a page; not after `drawing`."""
        make_interactive(self.chart, self.height)
        folded = table("Values", self.values, {name: name for name in self.values}, is_folded=True)
        notes = [f"{self.chart.subtitle}.", *self.notes]
        return Section(self.chart.title, notes, self.chart.figure, [folded])
