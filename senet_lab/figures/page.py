"""Self-contained HTML pages of figures and tables, for any width, in light and dark mode."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from bokeh.embed import file_html
from bokeh.models import InlineStyleSheet, Plot
from bokeh.resources import INLINE
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from senet_lab.text import MISSING, clock, number, plain


def _shown(value: Any) -> Any:
    """A value as escaped plain text, unless it is markup already."""
    return plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value


TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    finalize=_shown,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
"""Every value is plain text and escaped, unless a template says otherwise."""
TEMPLATES.filters["lines"] = lambda text: Markup.escape(plain(text, keep_lines=True))


LONG = 40
"""Maximal characters of a cell without wrapping."""
LAST = 1e300
"""Sort key of a missing number."""
SHORT = 25
"""Maximal rows of a table that is kept on one sheet in print."""


@dataclass(frozen=True)
class Link:
    """A table cell with a link."""

    text: str
    href: str


@dataclass(frozen=True)
class Cell:
    """A table cell: its text and its sort key."""

    text: str
    key: float | str
    href: str | None = None

    @property
    def kind(self) -> str:
        """CSS class of the cell: `number` is sorted numerically and right-aligned; `long` text may wrap."""
        if isinstance(self.key, float):
            return "number"
        return "long" if len(self.text) > LONG else "text"


@dataclass(frozen=True)
class Table:
    """A table that is sortable by any column."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    is_folded: bool = False
    """Collapsed at first."""

    @property
    def is_short(self) -> bool:
        """Whether it is kept on one sheet of paper."""
        return len(self.rows) <= SHORT


@dataclass(frozen=True)
class Listing:
    """Preformatted text: a command, a traceback."""

    caption: str
    text: str
    is_open: bool = True


@dataclass(frozen=True)
class Section:
    """A section of a page."""

    heading: str
    notes: Sequence[str] = ()
    plot: Plot | None = None
    tables: Sequence[Table] = ()
    listings: Sequence[Listing] = ()
    alternative: str = field(default="its values are in the tables below")
    """Text alternative of the plot: the place of its values."""
    alerts: Sequence[str] = ()
    """Problems, shown before the notes."""


def table(caption: str, frame: pd.DataFrame, headings: Mapping[str, str], is_folded: bool = False) -> Table:
    """The columns of `frame` that `headings` names, under those names."""
    values = frame[list(headings)].itertuples(index=False)
    rows = [[_cell(value) for value in row] for row in values]
    return Table(caption, list(headings.values()), rows, is_folded)


def time_cell(seconds: float) -> Cell:
    """A duration, sorted by its seconds."""
    return Cell(clock(seconds), seconds if seconds == seconds else LAST)


def _cell(value: Any) -> Cell:
    if isinstance(value, Cell):
        return value
    if isinstance(value, Link):
        return Cell(value.text, value.text, value.href)
    if isinstance(value, str):
        return Cell(value, value)
    if pd.isna(value):
        return Cell(MISSING, LAST)
    if isinstance(value, bool):
        text = "yes" if value else "no"
        return Cell(text, text)
    return Cell(number(value), float(value))


def render(title: str, lead: Sequence[str], sections: Sequence[Section], is_grid: bool = False) -> str:
    """A page as HTML.

    Args:
        title: title of the page.
        lead: sentences under the title.
        sections: in reading order, with interactive plots (`charts.make_interactive`). A single section has
            no heading besides the page's title.
        is_grid: place small sections side by side if they fit.
    """
    plots = [section.plot for section in sections if section.plot is not None]
    for place, plot in enumerate(plots):
        plot.name = f"plot {place}"  # the template refers to it
        plot.toolbar.stylesheets = [InlineStyleSheet(css="@media print { :host { visibility: hidden; } }")]
    template = TEMPLATES.get_template("page.html.jinja")
    text: dict[str, Any] = {"lead": lead, "sections": sections, "is_grid": is_grid, "live": None}
    if not plots:
        return template.render(title=title, bokeh_css="", bokeh_js="", plot_script="", roots={}, **text)
    return file_html(plots, INLINE, title, template=template, template_variables={"roots": {}, **text})


def render_section(section: Section, key: str) -> str:
    """One section as HTML, with an empty element for its plot.

    Args:
        section: the section.
        key: id of the section on the page.
    """
    parts: Any = TEMPLATES.get_template("section.html.jinja").module
    return str(parts.part(section, key, {}, with_heading=True))


def render_live(title: str, lead: Sequence[str], bokeh: str, nonce: str) -> str:
    """A page as HTML whose script loads the sections.

    Args:
        title: title of the page.
        lead: sentences under the title.
        bokeh: relative URL of BokehJS.
        nonce: CSP nonce of its scripts.
    """
    return TEMPLATES.get_template("page.html.jinja").render(
        title=title,
        lead=lead,
        sections=[],
        is_grid=False,
        live={"bokeh": bokeh, "nonce": nonce},
        bokeh_css="",
        bokeh_js="",
        plot_script="",
        roots={},
    )
