"""Drawings of a sweep's panels: charts for files and notebooks."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from senet_lab.analysis.grouping import Panel
from senet_lab.analysis.results import Results
from senet_lab.config import Band
from senet_lab.errors import UsageError
from senet_lab.figures.axes import Axes
from senet_lab.figures.browser import find_chromium, headless_chromium
from senet_lab.figures.export import Drawing, compile_chart
from senet_lab.figures.panels import draw, remarks
from senet_lab.figures.style import Look
from senet_lab.figures.write import FORMATS, INSTALL
from senet_lab.files import write_atomic


def draw_panels(
    panels: Sequence[Panel],
    looks: Mapping[str, Look],
    axes: Axes,
    result: Results,
    band: Band,
    reference: bool,
) -> dict[str, Drawing]:
    """Drawings of the panels with a value of the metric, by file name.

    Args:
        panels: panels of the sweep.
        looks: looks of their lines.
        axes: metric and x axis.
        result: frames of the metric.
        band: band around the means.
        reference: also draw published values.
    """
    others = result.others if reference else None
    drawings = {}
    for panel in panels:
        table = result.curves_of(panel)
        if len(table):
            sentences = remarks(panel, table, axes, others)
            chart = draw(panel, table, looks, axes, band, others, sentences)
            last = result.finals[result.finals["figure"] == panel.name].drop(columns="figure")
            drawings[axes.stem(panel.name)] = compile_chart(chart, sentences, last)
    return drawings


@dataclass(frozen=True)
class Figure:
    """A drawing with display in Jupyter and `save`; PNG, SVG and PDF need Chromium.

    Args:
        name: file name without extension, as `plot` writes it.
        drawing: page and printed form.
    """

    name: str
    drawing: Drawing

    def save(self, path: str | Path) -> Path:
        """Write the figure as a file; returns its path.

        Args:
            path: with the extension .html, .png, .svg or .pdf, which decides the format.

        Raises:
            UsageError: another extension, no Chromium although the format needs it, an unwritable path.
        """
        path = Path(path)
        form = path.suffix.removeprefix(".")
        if form not in FORMATS:
            raise UsageError(f"{path}: a figure is saved as one of {', '.join(FORMATS)}")
        write_atomic(path, self.drawing.html if form == "html" else self._rendered(form))
        return path

    def _rendered(self, form: str) -> bytes:
        found = find_chromium()
        if found is None:
            raise UsageError(INSTALL)
        with headless_chromium(*found) as render:
            content = render(self.drawing, [form])[form]
        return content.encode() if isinstance(content, str) else content

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """A PNG, which every notebook viewer shows; without Chromium, the HTML page."""
        if find_chromium() is None:
            frame = f'<iframe width="100%" height="700" srcdoc="{escape(self.drawing.html)}"></iframe>'
            return {"text/html": frame, "text/plain": repr(self)}, {}
        picture = b64encode(self._rendered("png")).decode()
        return {"image/png": picture, "text/plain": repr(self)}, {"image/png": {"width": self.drawing.width}}

    def __repr__(self) -> str:
        return f"Figure({self.name!r})"
