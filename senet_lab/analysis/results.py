"""Results of a sweep for one metric: the frames for figures, tables and pages."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from senet_lab.analysis.curves import curves, finals, states, values
from senet_lab.analysis.grouping import LINE, Panel
from senet_lab.analysis.metrics import Metric
from senet_lab.analysis.published import Others, also_published, published, with_published


@dataclass(frozen=True)
class Results:
    """Frames of one metric."""

    metric: Metric
    runs: pd.DataFrame
    """See `curves.values`."""
    curves: pd.DataFrame
    """See `curves.curves`."""
    finals: pd.DataFrame
    """See `curves.finals`; with published values, if there are any."""
    others: Others
    """Published values."""

    def curves_of(self, panel: Panel) -> pd.DataFrame:
        """The rows of `curves` of one panel."""
        return self.curves[self.curves["figure"] == panel.name]


def results(panels: Sequence[Panel], metric: Metric, name: str | None) -> Results:
    """The frames of a metric over the panels of a sweep.

    Args:
        panels: at least one panel.
        metric: the metric.
        name: the config's `published`, which names the published values to add.

    Raises:
        UsageError: see `published.published`.
    """
    runs = values(panels, metric)
    table = curves(runs)
    ends = finals(table, states(panels))
    others = published(panels, name, metric)
    if len(others.ends):
        ends = with_published(ends, others)
    for other in also_published(name, metric):
        known = published(panels, name, other)
        if len(known.ends):
            ends = _beside(ends, curves(values(panels, other)), known.ends, other.name)
    return Results(metric, runs, table, ends, others)


def _beside(ends: pd.DataFrame, ours: pd.DataFrame, theirs: pd.DataFrame, name: str) -> pd.DataFrame:
    """`ends` with another metric's mean at the same epoch and its published value."""
    mean = ours.rename(columns={"mean": f"{name}_mean"})[[*LINE, "epoch", f"{name}_mean"]]
    value = theirs.rename(columns={"value": f"published_{name}"})[[*LINE, f"published_{name}"]]
    joined = ends.merge(mean.astype({"epoch": "Int64"}), how="left", on=[*LINE, "epoch"])
    return joined.merge(value, how="left", on=list(LINE))
