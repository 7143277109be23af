"""Comparison with published values or another sweep: final values, curves, epochs, rankings."""

from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from senet_lab.analysis.grouping import LINE
from senet_lab.analysis.published import ENDS_COLUMNS, MEANS_COLUMNS, Others
from senet_lab.analysis.statistics import detectable, holm, most_runs, over_seeds

EPOCH = [*LINE, "epoch"]
WIDENING = 3
"""Standard deviations by which the others' range is widened."""
DIGITISED_TOLERANCE = 0.05
"""Distance from a mean that counts as near if the others' spread is unknown."""

FINAL_COLUMNS = (
    "figure", "line", "epoch", "n", "mean", "std", "other_n", "other_mean", "other_std", "difference",
    "z", "test", "p", "p_holm", "detectable", "curve_epochs", "curve_distance", "curve_distance_epoch",
)  # fmt: skip
EPOCH_COLUMNS = (
    "figure", "line", "epoch", "n", "mean", "lowest", "highest", "other_mean", "other_std", "low",
    "high", "rule", "inside",
)  # fmt: skip
RANKING_COLUMNS = (
    "figure", "epoch", "lines", "ours", "others", "same_order", "same_best", "kendall", "p", "spearman",
)  # fmt: skip


def other_sweep(runs: pd.DataFrame) -> Others:
    """The lines of another sweep, from its `curves.values`."""
    means = over_seeds(runs, EPOCH)[list(MEANS_COLUMNS)]
    return Others(means, runs, pd.DataFrame(columns=ENDS_COLUMNS), {})


def compare_finals(runs: pd.DataFrame, others: Others) -> pd.DataFrame:
    """Comparison of each line at the last common epoch of most runs, and over the whole curves.

    Welch's t test if both have two runs or more; Student's one-sample test if only the others' mean is known,
    which it treats as exact, so that its p is too small; no test for a single run.

    Args:
        runs: our runs; see `curves.values`.
        others: values of the same metric.

    Returns:
        `FINAL_COLUMNS`: `difference` is ours minus the others', `z` the difference over its standard error;
        `p_holm` is corrected over all rows; `detectable` is the true difference that the test finds with
        power 0.8, given these spreads; `curve_distance` is the largest distance of the two mean curves
        over the `curve_epochs` common epochs.
    """
    rows = []
    both = most_runs(over_seeds(runs, EPOCH)).merge(others.means, on=EPOCH, suffixes=("", "_others"))
    both = both.assign(distance=(both["mean"] - both["mean_others"]).abs())
    for (figure, line), table in both.groupby(list(LINE), sort=False):
        last = table.iloc[-1]
        epoch = last["epoch"]
        furthest = table.loc[table["distance"].idxmax()]
        test = _test(_at(runs, figure, line, epoch), _at(others.runs, figure, line, epoch), last)
        rows.append(
            {
                "figure": figure,
                "line": line,
                "epoch": epoch,
                **test,
                "curve_epochs": len(table),
                "curve_distance": furthest["distance"],
                "curve_distance_epoch": furthest["epoch"],
            }
        )
    table = pd.DataFrame(rows, columns=[name for name in FINAL_COLUMNS if name != "p_holm"])
    return table.assign(p_holm=holm(table["p"]))[list(FINAL_COLUMNS)]


def _at(runs: pd.DataFrame, figure: str, line: str, epoch: int) -> np.ndarray:
    """The values of a line's runs at an epoch; none if only the mean is known."""
    chosen = (runs["epoch"] == epoch) & (runs["figure"] == figure) & (runs["line"] == line)
    return runs.loc[chosen, "value"].to_numpy(float)


def _test(ours: np.ndarray, theirs: np.ndarray, means: pd.Series) -> dict[str, Any]:
    """The test at one epoch; `means` has mean, std and n of both sides, theirs with `_others`."""
    name, z, p, effect = "none", np.nan, np.nan, np.nan
    mean, spread, other_spread = means["mean_others"], means["std"], means["std_others"]
    if spread > 0 and not len(theirs):
        name = "one-sample t"
        z, p = stats.ttest_1samp(ours, mean)
        effect = detectable(len(ours), None) * spread
    elif spread > 0 and other_spread > 0:
        name = "Welch's t"
        z, p = stats.ttest_ind(ours, theirs, equal_var=False)
        effect = detectable(len(ours), len(theirs)) * np.hypot(spread, other_spread) / 2**0.5
    return {
        "n": len(ours),
        "mean": means["mean"],
        "std": spread,
        "other_n": means["n_others"],
        "other_mean": mean,
        "other_std": other_spread,
        "difference": means["mean"] - mean,
        "z": z,
        "test": name,
        "p": p,
        "detectable": effect,
    }


def compare_epochs(runs: pd.DataFrame, others: Others) -> pd.DataFrame:
    """Comparison of each common epoch: whether all our runs are near the others'.

    Near means within the range of the others' runs widened by `WIDENING` of their standard deviations on
    each side; if only their mean is known, within `DIGITISED_TOLERANCE` of it. Epochs with a single run of
    the others are left out.

    Args:
        runs: our runs; see `curves.values`.
        others: values of the same metric.

    Returns:
        `EPOCH_COLUMNS`: `lowest` and `highest` are our runs' range, `low` and `high` the range that counts as
        near by `rule`.
    """
    ours = over_seeds(runs, EPOCH).merge(_range(runs, "lowest", "highest"), on=EPOCH)
    theirs = others.means.merge(_range(others.runs, "low", "high"), how="left", on=EPOCH)
    both = ours[[*EPOCH, "n", "mean", "lowest", "highest"]].merge(theirs, on=EPOCH, suffixes=("", "_others"))
    both = both.rename(columns={"mean_others": "other_mean", "std": "other_std"})
    known = both["low"].notna()
    margin = (WIDENING * both["other_std"]).where(known, DIGITISED_TOLERANCE)
    table = both.assign(
        low=both["low"].fillna(both["other_mean"]) - margin,
        high=both["high"].fillna(both["other_mean"]) + margin,
        rule=np.where(known, f"range ± {WIDENING} std", f"mean ± {DIGITISED_TOLERANCE}"),
    ).dropna(subset=["low", "high"])
    inside = (table["low"] <= table["lowest"]) & (table["highest"] <= table["high"])
    return table.assign(inside=inside)[list(EPOCH_COLUMNS)]


def _range(runs: pd.DataFrame, low: str, high: str) -> pd.DataFrame:
    """Lowest and highest value of each line and epoch."""
    return (
        runs.groupby(EPOCH, sort=False)["value"]
        .agg(["min", "max"])
        .set_axis([low, high], axis=1)
        .reset_index()
    )


def rankings(runs: pd.DataFrame, others: Others) -> pd.DataFrame:
    """Rankings of each figure's lines by mean, ours and the others', at the last epoch common to all lines.

    Args:
        runs: our runs; see `curves.values`.
        others: values of the same metric.

    Returns:
        `RANKING_COLUMNS`: `kendall` is Kendall's τ between the two orders with its exact two-sided `p`,
        `spearman` Spearman's ρ. With five lines, τ = 0.8 (one exchange) has p = 0.083.
    """
    both = most_runs(over_seeds(runs, EPOCH)).merge(others.means, on=EPOCH, suffixes=("", "_others"))
    rows = []
    for figure, table in both.groupby("figure", sort=False):
        lines = table["line"].nunique()
        common = table[table.groupby("epoch")["line"].transform("size") == lines]
        if lines < 2 or common.empty:
            continue
        last = common[common["epoch"] == common["epoch"].max()].set_index("line")
        mine, yours = last["mean"], last["mean_others"]
        order, other_order = (list(means.sort_values(kind="stable").index) for means in (mine, yours))
        kendall = stats.kendalltau(mine, yours)
        rows.append(
            {
                "figure": figure,
                "epoch": last["epoch"].iloc[0],
                "lines": lines,
                "ours": " < ".join(order),
                "others": " < ".join(other_order),
                "same_order": order == other_order,
                "same_best": order[0] == other_order[0],
                "kendall": kendall.statistic,
                "p": kendall.pvalue,
                "spearman": stats.spearmanr(mine, yours).statistic,
            }
        )
    return pd.DataFrame(rows, columns=RANKING_COLUMNS)
