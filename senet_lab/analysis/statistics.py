"""Mean, spread, intervals, tests and power of a sweep's values.

Tests come from scipy, Holm's correction and power from statsmodels.
"""

import gc
import warnings
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from scipy.integrate import trapezoid
from scipy.optimize import brentq
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestIndPower, TTestPower

from senet_lab.analysis.grouping import LINE
from senet_lab.analysis.metrics import Metric

CONFIDENCE = 0.95
POWER = 0.8
COURSE_COLUMNS = ("best_epoch", "best_mean", "target_error", "target_epoch", "area", "area_epoch")
PAIRWISE_COLUMNS = (
    "figure", "first", "second", "epoch", "n", "test", "difference", "low", "high", "p", "p_holm",
)  # fmt: skip


def over_seeds(runs: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Mean, spread and interval of `value` over the runs of each group; no other code computes them.

    Args:
        runs: one row per run, with the columns `by` and `value`; NaN values do not count.
        by: columns to group by; groups keep the order in which they appear.

    Returns:
        The columns `by`, then `n`, `mean`, `std` (sample standard deviation, ddof 1), `sem` (std/√n), and
        `low` and `high`, Student's interval of the mean at `CONFIDENCE`. The last four are NaN if n is 1.
    """
    grouped = runs.groupby(list(by), sort=False)["value"]
    table = grouped.agg(n="count", mean="mean", std="std", sem="sem").reset_index()
    half = stats.t.ppf((1 + CONFIDENCE) / 2, table["n"] - 1) * table["sem"]
    return table.assign(low=table["mean"] - half, high=table["mean"] + half)


def most_runs(curves: pd.DataFrame) -> pd.DataFrame:
    """The epochs of each line with the most runs; later means are over fewer runs.

    Args:
        curves: see `curves.curves`.
    """
    return curves[curves["n"] == curves.groupby(list(LINE), sort=False)["n"].transform("max")]


def with_statistics(
    table: pd.DataFrame, curves: pd.DataFrame, metric: Metric, target: float | None = None
) -> pd.DataFrame:
    """`curves.finals` with intervals and measures of the whole curve.

    Args:
        table: see `curves.finals`.
        curves: see `curves.curves`.
        metric: the metric of the values.
        target: the target value; by default the best that all lines of a figure reach.

    Returns:
        New columns: `sem`; `t_low` and `t_high`, Student's interval of the mean; `best_epoch` and
        `best_mean`; `target_error`, and `target_epoch`, the first epoch whose mean reaches it; `area` under
        the curve of the means (trapezoids, value × epochs) up to `area_epoch`. The last six are over the
        epochs of `most_runs`, and NaN for a line without any.
    """
    keys = list(LINE)
    sign = 1 if metric.lower_is_better else -1
    rows = []
    for figure, part in most_runs(curves).groupby("figure", sort=False):
        losses = {
            line: sign * own.set_index("epoch")["mean"] for line, own in part.groupby("line", sort=False)
        }
        goal = max(own.min() for own in losses.values()) if target is None else sign * target
        rows += [{"figure": figure, "line": line, **_course(own, goal, sign)} for line, own in losses.items()]
    course = pd.DataFrame(rows, columns=[*keys, *COURSE_COLUMNS])
    course = course.astype(dict.fromkeys(("best_epoch", "target_epoch", "area_epoch"), "Int64"))
    spread = curves[[*keys, "epoch", "sem", "low", "high"]].astype({"epoch": "Int64"})
    spread = spread.rename(columns={"low": "t_low", "high": "t_high"})
    return table.merge(spread, how="left", on=[*keys, "epoch"]).merge(course, how="left", on=keys)


def _course(losses: pd.Series, goal: float, sign: int) -> dict[str, Any]:
    """`COURSE_COLUMNS` of a curve of means by epoch, all times `sign`, so that lower is better."""
    reached = losses.index[losses <= goal]
    best, first = losses.idxmin(), reached[0] if len(reached) else None
    area = sign * trapezoid(losses, losses.index)
    found = (best, sign * losses[best], sign * goal, first, area, losses.index[-1])
    return dict(zip(COURSE_COLUMNS, found, strict=True))


def pairwise(runs: pd.DataFrame) -> pd.DataFrame:
    """Pairwise tests of the lines of each figure, at the last common epoch of `most_runs`.

    Runs with the same seed share their data order and are compared as pairs; with fewer than two such pairs,
    Welch's test compares the lines. p values are two-sided; `p_holm` is corrected over all pairs of a figure
    (Holm 1979).

    Args:
        runs: see `curves.values`.

    Returns:
        `PAIRWISE_COLUMNS`: `n` counts pairs, or is `n1 + n2`; `difference` is first minus second, `low`
        and `high` its interval at `CONFIDENCE`. p is NaN for a line with a single run, or without variation.
    """
    parts = [_pairs_of(part).assign(figure=figure) for figure, part in runs.groupby("figure", sort=False)]
    return pd.concat([pd.DataFrame(columns=PAIRWISE_COLUMNS), *parts], ignore_index=True)


def _pairs_of(runs: pd.DataFrame) -> pd.DataFrame:
    """The pairs of one figure."""
    full = most_runs(over_seeds(runs, [*LINE, "epoch"]))
    last = full.groupby("line", sort=False)["epoch"].max()
    rows = []
    for first, second in combinations(last.index, 2):
        epoch = min(last[first], last[second])
        then = runs[runs["epoch"] == epoch].set_index(["line", "seed"])["value"]
        rows.append({"first": first, "second": second, "epoch": epoch, **_compare(then[first], then[second])})
    pairs = pd.DataFrame(rows, columns=PAIRWISE_COLUMNS[1:-1])
    return pairs.assign(p_holm=holm(pairs["p"]))


def _compare(one: pd.Series, other: pd.Series) -> dict[str, Any]:
    """The test between two lines, from their values by seed."""
    seeds = one.index.intersection(other.index)
    with warnings.catch_warnings():
        # For constant or too few values, scipy warns and returns NaN, which is the result here.
        warnings.simplefilter("ignore", RuntimeWarning)
        if len(seeds) >= 2:
            one, other = one[seeds], other[seeds]
            name, n, result = "paired t", str(len(seeds)), stats.ttest_rel(one, other)
        else:
            name, n = "Welch's t", f"{len(one)} + {len(other)}"
            result = stats.ttest_ind(one, other, equal_var=False)
        interval = result.confidence_interval(CONFIDENCE)
    return {
        "n": n,
        "test": name if np.isfinite(result.pvalue) else "none",
        "difference": one.mean() - other.mean(),
        "low": interval.low,
        "high": interval.high,
        "p": result.pvalue,
    }


def holm(p: Sequence[float] | pd.Series) -> np.ndarray:
    """Holm's step-down correction of p values; NaN stays NaN."""
    values = np.asarray(p, dtype=float)
    corrected, known = values.copy(), np.isfinite(values)
    if known.any():
        gc.freeze()  # statsmodels collects garbage, over all that is imported: with torch, for 0.3 s
        try:
            corrected[known] = multipletests(values[known], method="holm")[1]
        finally:
            gc.unfreeze()
    return corrected


def detectable(n: int, other: int | None, alpha: float = 1 - CONFIDENCE) -> float:
    """The true difference, in standard deviations, that a two-sided t test finds with power `POWER`.

    Args:
        n: runs of a line, or pairs of runs: the standard deviation is then that of their differences.
        other: runs of the other line; None for pairs, or a fixed value.
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
    """The power of `n` runs per line, in words."""
    if n < 2:
        return "A single run per line has no spread: no difference can be distinguished from chance."
    half = stats.t.ppf((1 + CONFIDENCE) / 2, n - 1) / np.sqrt(n)
    return (
        f"Power with n = {n}: the {100 * CONFIDENCE:g} % interval of a mean reaches ±{half:.2f} standard "
        f"deviations, and a test at 5 % finds a true difference with power {POWER} only from "
        f"{detectable(n, n):.1f} standard deviations between two independent lines (from "
        f"{detectable(n, None):.1f} standard deviations of the differences between pairs), before any "
        "correction for multiple comparisons. Smaller differences are mostly missed, so equality of two "
        "lines is never shown. t tests assume normally distributed errors, which so few runs cannot confirm."
    )
