"""What the final errors of a sweep show, and what so few runs cannot show.

Tests come from scipy, Holm's correction and power from statsmodels.
"""

import warnings
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from scipy.integrate import trapezoid
from scipy.optimize import brentq
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestIndPower, TTestPower

from senet_lab.analysis.grouping import Figure, Line

CONFIDENCE = 0.95
POWER = 0.8
PAIRWISE_COLUMNS = (
    "figure", "first", "second", "epoch", "n", "test", "difference", "low", "high", "p", "p_holm",
)  # fmt: skip


def run_errors(line: Line) -> pd.DataFrame:
    """Test error (1 − test top-1) of each run: a row an epoch, a column a seed, NaN where there is none."""
    runs = {
        run.config.seed: 1 - run.metrics.set_index("epoch")["test_top1"]
        for run in line.runs
        if not run.metrics.empty
    }
    errors = pd.DataFrame(runs, dtype=float).sort_index()
    return errors.where(np.isfinite(errors)).dropna(how="all")


def most_runs(errors: pd.DataFrame) -> pd.DataFrame:
    """The epochs of `run_errors` that most runs reached: later ones average fewer, and another mixture."""
    counts = errors.notna().sum(axis="columns")
    return errors[counts == counts.max()]


def with_statistics(
    table: pd.DataFrame, figures: Iterable[Figure], target_error: float | None = None
) -> pd.DataFrame:
    """`curves.finals` with what else its numbers say.

    Args:
        table: as `curves.finals` gives it for `figures`.
        figures: the figures of the sweep.
        target_error: the error to be reached; by default, in each figure, the lowest that all lines reach.

    Returns:
        New columns: `sem`, std/√n; `t_low` and `t_high`, the t interval of the mean at `CONFIDENCE`;
        `best_epoch` and `best_mean`, the lowest mean error; `target_error`, and `target_epoch`, the first
        epoch whose mean is at or below it; `area` under the curve of the means (trapezoids, error × epochs)
        up to `area_epoch`. The last six are over the epochs that most runs reached, and NaN where a line has
        none.
    """
    rows: list[dict[str, Any]] = []
    for figure in figures:
        full = [most_runs(run_errors(line)).mean(axis="columns") for line in figure.lines]
        reached = [means.min() for means in full if len(means)]
        target = max(reached, default=np.nan) if target_error is None else target_error
        rows += [_course(means, target) for means in full]
    sem = table["std"] / np.sqrt(table["n"])
    half = stats.t.ppf((1 + CONFIDENCE) / 2, table["n"] - 1) * sem
    course = pd.DataFrame(rows, index=table.index).astype(
        dict.fromkeys(("best_epoch", "target_epoch", "area_epoch"), "Int64")
    )
    return table.assign(sem=sem, t_low=table["mean"] - half, t_high=table["mean"] + half).join(course)


def _course(means: pd.Series, target: float) -> dict[str, Any]:
    """The values of `with_statistics` that a mean curve, by epoch, has."""
    if means.empty:
        values = (None, np.nan, target, None, np.nan, None)
    else:
        reached = means.index[means <= target]
        first = reached[0] if len(reached) else None
        area = trapezoid(means, means.index)
        values = (means.idxmin(), means.min(), target, first, area, means.index[-1])
    names = ("best_epoch", "best_mean", "target_error", "target_epoch", "area", "area_epoch")
    return dict(zip(names, values, strict=True))


def pairwise(figures: Iterable[Figure]) -> pd.DataFrame:
    """Every two lines of each figure against one another, at the last epoch that most runs of both have.

    Runs that share their seed share data order and are compared as pairs; without two such pairs, Welch's
    test compares the lines. p values are two-sided; `p_holm` holds for all pairs of a figure together
    (Holm 1979).

    Returns:
        `PAIRWISE_COLUMNS`: `n` counts pairs, or is `n1 + n2`; `difference` is first minus second, `low`
        and `high` its interval at `CONFIDENCE`. p is NaN where a line has a single run or nothing varies.
    """
    parts = [_pairs_of(figure) for figure in figures if len(figure.lines) > 1]
    if not parts:
        return pd.DataFrame(columns=PAIRWISE_COLUMNS)
    return pd.concat(parts, ignore_index=True)


def _pairs_of(figure: Figure) -> pd.DataFrame:
    errors = {line.label: run_errors(line) for line in figure.lines}
    rows = [
        {"figure": figure.name, "first": first, "second": second, **_compare_lines(one, other)}
        for (first, one), (second, other) in combinations(errors.items(), 2)
        if len(one) and len(other)
    ]
    pairs = pd.DataFrame(rows, columns=PAIRWISE_COLUMNS[:-1])
    return pairs.assign(p_holm=holm(pairs["p"]))


def _compare_lines(first: pd.DataFrame, second: pd.DataFrame) -> dict[str, Any]:
    epoch = int(min(most_runs(first).index[-1], most_runs(second).index[-1]))
    one, other = (
        errors.loc[epoch].dropna() if epoch in errors.index else pd.Series() for errors in (first, second)
    )
    seeds = one.index.intersection(other.index)
    with warnings.catch_warnings():
        # Values that do not vary, or too few: scipy warns and answers NaN, which is what we report.
        warnings.simplefilter("ignore", RuntimeWarning)
        if len(seeds) >= 2:
            one, other = one[seeds], other[seeds]
            name, n, result = "paired t", str(len(seeds)), stats.ttest_rel(one, other)
        else:
            name, n = "Welch's t", f"{len(one)} + {len(other)}"
            result = stats.ttest_ind(one, other, equal_var=False)
        interval = result.confidence_interval(CONFIDENCE)
    return {
        "epoch": epoch,
        "n": n,
        "test": name if np.isfinite(result.pvalue) else "none",
        "difference": one.mean() - other.mean(),
        "low": interval.low,
        "high": interval.high,
        "p": result.pvalue,
    }


def holm(p: Sequence[float] | pd.Series) -> np.ndarray:
    """Holm's step-down correction of the p values that are there; NaN stays NaN."""
    values = np.asarray(p, dtype=float)
    corrected, known = values.copy(), np.isfinite(values)
    if known.any():
        corrected[known] = multipletests(values[known], method="holm")[1]
    return corrected


def detectable(n: int, other: int | None, alpha: float = 1 - CONFIDENCE) -> float:
    """The true difference, in standard deviations, that a two-sided t test finds with power `POWER`.

    Args:
        n: runs of a line, or pairs of runs: the standard deviation is then that of their differences.
        other: runs of the line that it is compared with; None where there are pairs or a fixed value.
        alpha: the level of the test.
    """
    if other is not None:
        return float(TTestIndPower().solve_power(nobs1=n, ratio=other / n, alpha=alpha, power=POWER))
    high = 1.0
    while paired_power(high, n, alpha) < POWER:
        high *= 2
    return float(brentq(lambda effect: paired_power(effect, n, alpha) - POWER, 0, high))


def paired_power(effect: float, n: int, alpha: float) -> float:
    """The power of a two-sided paired t test; finding the opposite direction does not count.

    Args:
        effect: the true difference in standard deviations of the differences.
        n: pairs.
        alpha: the level of the test.
    """
    return float(TTestPower().power(effect, n, alpha / 2, alternative="larger"))


def what_it_can_show(n: int) -> str:
    """What `n` runs a line can show and what they cannot, in plain words."""
    if n < 2:
        return "A single run a line has no spread: no difference here can be told from chance."
    half = stats.t.ppf((1 + CONFIDENCE) / 2, n - 1) / np.sqrt(n)
    return (
        f"What n = {n} can show: the {100 * CONFIDENCE:g} % interval of a mean reaches ±{half:.2f} standard "
        f"deviations, and a test at 5 % finds a true difference with power {POWER} only from "
        f"{detectable(n, n):.1f} standard deviations between two independent lines (from "
        f"{detectable(n, None):.1f} standard deviations of the differences between pairs), before any "
        "correction for many comparisons. What it cannot show: that two lines are the same, because a "
        "smaller difference is mostly missed; nor that errors are normally distributed, as t tests assume."
    )
