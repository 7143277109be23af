"""Published results that an experiment names, beside ours."""

from collections.abc import Iterable, Sequence

import pandas as pd

from senet_lab.analysis.grouping import Figure, Line
from senet_lab.config import ReferenceConfig
from senet_lab.errors import UsageError


def with_references(
    table: pd.DataFrame, figures: Iterable[Figure], references: Sequence[ReferenceConfig]
) -> pd.DataFrame:
    """`curves.finals` with our top-5 error, and what the papers report for the same lines.

    Returns:
        New columns: `top5_mean`, a fraction as `mean` is; `reference_top1` and `reference_top5`, the
        published errors as fractions; `reference_source`.

    Raises:
        UsageError: a line that two references claim.
    """
    lines = [(figure.name, line) for figure in figures for line in figure.lines]
    found = [_reference(name, line.label, references) for name, line in lines]
    return table.assign(
        top5_mean=[_final_top5(line, epoch) for (_, line), epoch in zip(lines, table["epoch"], strict=True)],
        reference_top1=[_fraction(known.top1_error if known else None) for known in found],
        reference_top5=[_fraction(known.top5_error if known else None) for known in found],
        reference_source=[known.source if known else "" for known in found],
    )


def _reference(figure: str, label: str, references: Sequence[ReferenceConfig]) -> ReferenceConfig | None:
    known = [r for r in references if r.line == label and r.figure in (None, figure)]
    if len(known) > 1:
        raise UsageError(
            f"references: {len(known)} are for the line {label} of figure {figure}: give one, or say figure:"
        )
    return known[0] if known else None


def _fraction(percent: float | None) -> float:
    return float("nan") if percent is None else round(percent / 100, 6)


def _final_top5(line: Line, epoch: object) -> float:
    """Mean top-5 error of the runs that reached `epoch`."""
    if pd.isna(epoch):
        return float("nan")
    rows = pd.concat([run.metrics[run.metrics["epoch"] == epoch] for run in line.runs])
    return float((1 - rows["test_top5"]).mean())
