"""Metrics: columns of `metrics.csv`, or their complements 1 − x for accuracies.

Names and labels follow from `records.rows.Metrics` and its docstrings: a new column needs no change here.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import pandas as pd

from senet_lab.documentation import field_lines
from senet_lab.errors import UsageError
from senet_lab.records.rows import Metrics, columns

DEFAULT = "test_error"
COMPLEMENT = "1-"
"""Prefix of a column's name for 1 − its values."""
DECIMALS = {"seconds": 1, "images": 0, "lr": 6}
"""Decimals of columns other than fractions and losses."""
USUAL_DECIMALS = 4


@dataclass(frozen=True)
class Metric:
    """A value per epoch of a run."""

    name: str
    column: str
    """Column of `metrics.csv`."""
    is_complement: bool
    """The metric is 1 − the column."""
    label: str
    decimals: int = USUAL_DECIMALS

    @property
    def axis(self) -> str:
        """Label of an axis; Error for the default metric, as in the published plots."""
        return "Error" if self.name == DEFAULT else self.label

    @property
    def noun(self) -> str:
        """Name of the metric within a sentence."""
        return self.axis[0].lower() + self.axis[1:]

    @property
    def lower_is_better(self) -> bool:
        """False for accuracies."""
        return self.is_complement or "_top" not in self.column

    def of(self, table: pd.DataFrame) -> pd.Series:
        """The metric's values in a table with the columns of `metrics.csv`; NaN if it lacks the column."""
        if self.column not in table:
            return pd.Series(float("nan"), index=table.index)
        return 1 - table[self.column] if self.is_complement else table[self.column]

    def text(self, value: float) -> str:
        """The value with the metric's decimals."""
        return f"{value:.{self.decimals}f}"


@cache
def known_metrics() -> dict[str, Metric]:
    """The known metrics by name: errors first, then the columns themselves."""
    errors = [
        Metric(
            _error_name(name),
            name,
            True,
            label.replace("top-1 accuracy", "error").replace("accuracy", "error"),
        )
        for name, label in _labels().items()
        if "_top" in name
    ]
    plain = [
        Metric(name, name, False, label, DECIMALS.get(name, USUAL_DECIMALS))
        for name, label in _labels().items()
    ]
    return {metric.name: metric for metric in (*errors, *plain)}


def find_metric(name: str, extra: Iterable[str] = ()) -> Metric:
    """The metric called `name`: a known one, a column's name, or `1-` and a column's name.

    Args:
        name: a name from `figures.metric`.
        extra: further columns of the records.

    Raises:
        UsageError: no such metric; the message lists the known ones.
    """
    if name in known_metrics():
        return known_metrics()[name]
    is_complement = name.startswith(COMPLEMENT)
    column = name.removeprefix(COMPLEMENT)
    if column not in {*_labels(), *extra}:
        known = ", ".join([*known_metrics(), *sorted(set(extra) - set(_labels()))])
        raise UsageError(
            f"figures.metric={name}: there is no such metric; known: {known}; or 1- before a column"
        )
    label = _labels().get(column, column)
    return Metric(name, column, is_complement, f"1 − {label}" if is_complement else label)


def _error_name(column: str) -> str:
    """Name of an accuracy's error: `test_error` for `test_top1`, `test_top5_error` for `test_top5`."""
    return f"{column.removesuffix('_top1')}_error"


@cache
def _labels() -> dict[str, str]:
    """Numeric columns, labelled by the first phrase of their docstrings."""
    texts = field_lines(Metrics)
    return {name: texts[name].split(",")[0].rstrip(".") for name in columns(Metrics) if name != "epoch"}
