"""Axes of a panel's charts, from `figures.metric`, `x`, `y_scale` and `y_range`."""

from collections.abc import Sequence
from dataclasses import dataclass

from senet_lab.analysis.grouping import Panel
from senet_lab.analysis.metrics import DEFAULT, Metric, find_metric
from senet_lab.config import FiguresConfig, Scale, WhenTested, XAxis
from senet_lab.errors import UsageError

X_LABELS = {XAxis.epoch: "Epoch", XAxis.seconds: "Seconds", XAxis.images: "Training images seen"}


@dataclass(frozen=True)
class Axes:
    """The axes of one chart of each panel."""

    metric: Metric
    x: XAxis = XAxis.epoch
    """A column of `curves.curves`."""
    y_scale: Scale = Scale.linear
    y_range: tuple[float, float] | None = None

    def title(self, panel: Panel) -> str:
        """The title of a panel's chart; for the default metric, the panel's title."""
        return ": ".join([panel.title, *([self.metric.label.lower()] if self._suffix else [])])

    def stem(self, panel: str) -> str:
        """The file name of a panel's chart; for the default metric over epochs, the panel's name."""
        parts = [panel, *self._suffix, *([] if self.x is XAxis.epoch else [str(self.x)])]
        return "_".join(parts)

    def table(self, name: str) -> str:
        """The file name of a table of the metric; for the default metric, `name`."""
        return "_".join([name, *self._suffix])

    @property
    def _suffix(self) -> list[str]:
        return [] if self.metric.name == DEFAULT else [self.metric.name]


def axes_of(config: FiguresConfig, panels: Sequence[Panel] = ()) -> list[Axes]:
    """The axes of each chart of a panel, in the order of `figures.metric`.

    Args:
        config: the command's config.
        panels: panels whose records may have further columns.

    Raises:
        UsageError: no such metric.
    """
    extra = {
        column for panel in panels for line in panel.lines for run in line.runs for column in run.metrics
    }
    y_range = None if config.y_range is None else (config.y_range[0], config.y_range[1])
    return [Axes(find_metric(name, extra), config.x, config.y_scale, y_range) for name in config.metrics]


def require_curves(charts: Sequence[Axes], panels: Sequence[Panel]) -> None:
    """Refuse curves of test metrics if no run is tested at each epoch.

    Raises:
        UsageError: such a metric.
    """
    when = {line.config.test for panel in panels for line in panel.lines}
    for axes in charts:
        if axes.metric.column.startswith("test_") and when and WhenTested.each_epoch not in when:
            raise UsageError(
                f"figures.metric={axes.metric.name}: with test={min(when)} the test images are not evaluated "
                "at each epoch, so there is no curve: use figures.metric=val_error or train_error"
            )
