"""Our errors beside others': final values, whole curves, the first epochs of partial runs, and rankings."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from senet_lab.analysis.baselines import FINAL_EPOCH, published
from senet_lab.analysis.grouping import Figure
from senet_lab.analysis.statistics import detectable, holm, most_runs, run_errors

WIDENING = 3
"""Standard deviations by which the others' range is widened."""
DIGITISED_TOLERANCE = 0.05
"""Distance from a mean that counts as near where the others' spread is not known."""

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


@dataclass(frozen=True)
class Baseline:
    """The errors that a line is compared with."""

    means: pd.Series
    """Mean error by epoch."""
    runs: pd.DataFrame | None
    """Each run's error, a row an epoch and a column a run; None where only means are known."""
    n: int

    def at(self, epoch: int) -> np.ndarray | None:
        """Each run's error at `epoch`; None where only the mean is known."""
        return None if self.runs is None else self.runs.loc[epoch].dropna().to_numpy()


Baselines = Mapping[tuple[str, str], Baseline]
"""By figure name and line label."""


def published_baselines(figures: Iterable[Figure]) -> dict[tuple[str, str], Baseline]:
    """What was published for the lines of `figures`; lines that nobody published are left out."""
    baselines = {}
    for figure in figures:
        for line in figure.lines:
            known = published(line)
            if known is not None:
                means = known.curve.set_index("epoch")["mean"]
                means[FINAL_EPOCH] = known.final  # sharper than what was read off a plot
                baselines[figure.name, line.label] = Baseline(means.sort_index(), known.runs, 3)
    return baselines


def sweep_baselines(figures: Iterable[Figure]) -> dict[tuple[str, str], Baseline]:
    """The lines of another sweep's figures."""
    baselines = {}
    for figure in figures:
        for line in figure.lines:
            errors = run_errors(line)
            if len(errors):
                means = errors.mean(axis="columns")
                baselines[figure.name, line.label] = Baseline(means, errors, errors.shape[1])
    return baselines


def compare_finals(figures: Iterable[Figure], baselines: Baselines) -> pd.DataFrame:
    """Each line at the last epoch that both have, and the whole of both curves, where most runs reached.

    Welch's t test where both have two runs or more; Student's one-sample test where only the others' mean
    is known, which it takes as exact, so that its p is too small; no test for a single run.

    Returns:
        `FINAL_COLUMNS`: `difference` is ours minus the others', `z` the same over its standard error;
        `p_holm` holds for all rows together; `detectable` is the true difference that the test finds with
        power 0.8, given these spreads; `curve_distance` is the largest distance of the two mean curves
        over the `curve_epochs` epochs that both have.
    """
    rows = []
    for figure, label, ours, theirs in _both(figures, baselines):
        errors = most_runs(ours)
        means = errors.mean(axis="columns")
        distances = (means - theirs.means).abs().dropna()
        epoch = distances.index[-1]
        rows.append(
            {
                "figure": figure.name,
                "line": label,
                "epoch": epoch,
                **_test(errors.loc[epoch].dropna().to_numpy(), theirs, epoch),
                "curve_epochs": len(distances),
                "curve_distance": distances.max(),
                "curve_distance_epoch": distances.idxmax(),
            }
        )
    table = pd.DataFrame(rows, columns=[name for name in FINAL_COLUMNS if name != "p_holm"])
    return table.assign(p_holm=holm(table["p"]))[list(FINAL_COLUMNS)]


def _both(
    figures: Iterable[Figure], baselines: Baselines
) -> Iterable[tuple[Figure, str, pd.DataFrame, Baseline]]:
    """The lines that have an epoch in common with their baseline."""
    for figure in figures:
        for line in figure.lines:
            theirs = baselines.get((figure.name, line.label))
            ours = run_errors(line)
            if theirs is not None and len(ours.index.intersection(theirs.means.index)):
                yield figure, line.label, ours, theirs


def _test(ours: np.ndarray, theirs: Baseline, epoch: int) -> dict[str, Any]:
    others, mean = theirs.at(epoch), float(theirs.means[epoch])
    spread = ours.std(ddof=1) if len(ours) > 1 else np.nan
    name, z, p, effect = "none", np.nan, np.nan, np.nan
    other_spread = np.nan if others is None or len(others) < 2 else others.std(ddof=1)
    if spread > 0 and others is None:
        name = "one-sample t"
        z, p = stats.ttest_1samp(ours, mean)
        effect = detectable(len(ours), None) * spread
    elif spread > 0 and others is not None and other_spread > 0:
        name = "Welch's t"
        z, p = stats.ttest_ind(ours, others, equal_var=False)
        effect = detectable(len(ours), len(others)) * np.hypot(spread, other_spread) / 2**0.5
    return {
        "n": len(ours),
        "mean": ours.mean(),
        "std": spread,
        "other_n": theirs.n if others is None else len(others),
        "other_mean": mean,
        "other_std": other_spread,
        "difference": ours.mean() - mean,
        "z": z,
        "test": name,
        "p": p,
        "detectable": effect,
    }


def compare_epochs(figures: Iterable[Figure], baselines: Baselines) -> pd.DataFrame:
    """Each epoch that both have: do all our runs lie near the others'?

    Near means within the range of the others' runs widened by `WIDENING` of their standard deviations on
    each side; where only their mean is known, within `DIGITISED_TOLERANCE` of it.

    Returns:
        `EPOCH_COLUMNS`: `lowest` and `highest` are our runs' range, `low` and `high` what counts as near
        by which `rule`.
    """
    rows = []
    for figure, label, ours, theirs in _both(figures, baselines):
        for epoch in ours.index.intersection(theirs.means.index):
            errors, others, mean = ours.loc[epoch].dropna(), theirs.at(epoch), float(theirs.means[epoch])
            if others is None:
                spread, low, high = np.nan, mean - DIGITISED_TOLERANCE, mean + DIGITISED_TOLERANCE
                rule = f"mean ± {DIGITISED_TOLERANCE}"
            elif len(others) < 2:
                continue
            else:
                spread = others.std(ddof=1)
                low, high = others.min() - WIDENING * spread, others.max() + WIDENING * spread
                rule = f"range ± {WIDENING} std"
            rows.append(
                {
                    "figure": figure.name,
                    "line": label,
                    "epoch": epoch,
                    "n": len(errors),
                    "mean": errors.mean(),
                    "lowest": errors.min(),
                    "highest": errors.max(),
                    "other_mean": mean,
                    "other_std": spread,
                    "low": low,
                    "high": high,
                    "rule": rule,
                    "inside": bool(low <= errors.min() and errors.max() <= high),
                }
            )
    return pd.DataFrame(rows, columns=EPOCH_COLUMNS)


def rankings(figures: Iterable[Figure], baselines: Baselines) -> pd.DataFrame:
    """The lines of each figure from the lowest mean error to the highest, ours and the others'.

    At the last epoch that all lines compared have on both sides.

    Returns:
        `RANKING_COLUMNS`: `kendall` is Kendall's τ between the two orders with its exact two-sided `p`,
        `spearman` Spearman's ρ. With five lines, τ = 0.8 (one exchange) has p = 0.083.
    """
    rows = []
    for figure in figures:
        pairs = {label: (ours, theirs) for _, label, ours, theirs in _both([figure], baselines)}
        if len(pairs) < 2:
            continue
        means = {label: most_runs(runs).mean(axis="columns") for label, (runs, _) in pairs.items()}
        ours = pd.DataFrame(means)
        others = pd.DataFrame({label: theirs.means for label, (_, theirs) in pairs.items()})
        common = ours.dropna().index.intersection(others.dropna().index)
        if common.empty:
            continue
        mine, yours = ours.loc[common[-1]], others.loc[common[-1]]
        order, other_order = (list(means.sort_values(kind="stable").index) for means in (mine, yours))
        kendall = stats.kendalltau(mine, yours)
        rows.append(
            {
                "figure": figure.name,
                "epoch": common[-1],
                "lines": len(pairs),
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
