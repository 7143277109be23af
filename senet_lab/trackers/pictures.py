"""Figures of single ended runs, for trackers."""

import sys
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING

from senet_lab.composition.command import Command
from senet_lab.config import Band
from senet_lab.errors import UsageError
from senet_lab.records.figures import planned_config
from senet_lab.records.plan import PlannedRun
from senet_lab.records.run import State
from senet_lab.records.sweep import SweepDirectory
from senet_lab.text import plain

if TYPE_CHECKING:
    from senet_lab.analysis.grouping import Panel
    from senet_lab.figures.axes import Axes
    from senet_lab.figures.browser import Render


class Pictures:
    """Drawing of figures with one headless Chromium, started for the first and closed with the context.

    Without a browser, or after its failure, there are no figures; a one-line message says so.
    """

    def __init__(self, sweep: SweepDirectory, command: Command) -> None:
        self.sweep = sweep
        self.command = command
        self._missing = False

    def __enter__(self) -> "Pictures":
        self._browser = ExitStack()
        self._render: Render | None = None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._browser.close()

    def of(self, run: PlannedRun, state: State) -> dict[str, bytes]:
        """PNG images by name: the metrics of `plot` over the run's epochs."""
        if self._missing:
            return {}
        # Imported late, because they take a second.
        from senet_lab.analysis.curves import values
        from senet_lab.analysis.grouping import group
        from senet_lab.analysis.runs import read_run
        from senet_lab.figures.axes import axes_of
        from senet_lab.figures.browser import BrowserError, find_chromium
        from senet_lab.figures.write import INSTALL

        found = find_chromium()
        if found is None:
            return self._none(INSTALL)
        try:
            record = self.sweep.run(run.directory)
            figures = planned_config(self.command, self.sweep).figures
            (panel,) = group([read_run(run.directory, record, run.config, state)], figures)
            return {
                axes.metric.noun.replace(" ", "_"): self._draw(panel, axes, found)
                for axes in axes_of(figures, [panel])
                if len(values([panel], axes.metric))
            }
        except (BrowserError, UsageError) as error:
            return self._none(str(error))

    def _draw(self, panel: "Panel", axes: "Axes", browser: tuple[str, str]) -> bytes:
        from senet_lab.analysis.curves import curves, values
        from senet_lab.figures.browser import headless_chromium
        from senet_lab.figures.export import compile_chart
        from senet_lab.figures.panels import draw, remarks
        from senet_lab.figures.style import looks_of

        table = curves(values([panel], axes.metric))
        sentences = remarks(panel, table, axes)
        chart = draw(panel, table, looks_of([panel]), axes, Band.none, notes=sentences)
        drawing = compile_chart(chart, sentences, panel.lines[0].runs[0].metrics)
        if self._render is None:
            self._render = self._browser.enter_context(headless_chromium(*browser))
        return self._render(drawing, ["png"])["png"]

    def _none(self, reason: str) -> dict[str, bytes]:
        self._missing = True
        print(f"the tracker gets no figures: {plain(reason)}", file=sys.stderr, flush=True)
        return {}
