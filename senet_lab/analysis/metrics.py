"""Metrics: columns of `metrics.csv` as they are, or as 1 − it where a column counts successes.

Names and labels follow from `records.rows.Metrics` and its docstrings: a new column needs nothing here.
"""

import ast
import inspect
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import pandas as pd

from senet_lab.errors import UsageError
from senet_lab.records.rows import Metrics, columns

DEFAULT = "test_error"
COMPLEMENT = "1-"
"""Before a column's name: 1 − its values."""
DECIMALS = {"seconds": 1, "images": 0, "lr": 6}
"""Of columns that hold neither fractions nor losses."""
USUAL_DECIMALS = 4


@dataclass(frozen=True)
class Metric:
    """A number that each epoch of a run has."""

    name: str
    column: str
    """Of `metrics.csv`."""
    is_complement: bool
    """The metric is 1 − the column."""
    label: str
    decimals: int = USUAL_DECIMALS

    @property
    def axis(self) -> str:
        """The label on an axis; the published plots say Error for the default metric."""
        return "Error" if self.name == DEFAULT else self.label

    @property
    def noun(self) -> str:
        """Within a sentence."""
        return self.axis[0].lower() + self.axis[1:]

    @property
    def lower_is_better(self) -> bool:
        """False for accuracies."""
        return self.is_complement or "_top" not in self.column

    def of(self, table: pd.DataFrame) -> pd.Series:
        """The metric's values in a table with the columns of `metrics.csv`; NaN where it lacks the column."""
        if self.column not in table:
            return pd.Series(float("nan"), index=table.index)
        return 1 - table[self.column] if self.is_complement else table[self.column]

    def text(self, value: float) -> str:
        """The value with the metric's decimals."""
        return f"{value:.{self.decimals}f}"


@cache
def known_metrics() -> dict[str, Metric]:
    """The metrics that every record may have, by name: errors first, then the columns themselves."""
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
        name: as `figures.metric` has it.
        extra: columns that records have beyond the known ones.

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
    """`test_error` of `test_top1`, `test_top5_error` of `test_top5`."""
    return f"{column.removesuffix('_top1')}_error"


@cache
def _labels() -> dict[str, str]:
    """The columns that are numbers over epochs, with the first phrase of their docstrings."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(Metrics))).body
    assert isinstance(body, ast.ClassDef)
    texts = {
        field.target.id: text.value.value
        for field, text in zip(body.body, body.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
        if isinstance(text.value.value, str)
    }
    return {name: texts[name].split(",")[0].rstrip(".") for name in columns(Metrics) if name != "epoch"}
