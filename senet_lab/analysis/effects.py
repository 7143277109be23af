"""Differences between the arms of a comparison, paired by seed: intervals, tests, claims and power.

An arm is one option of the compared axis (an activation, say), a block one network on one data set. Errors
are fractions, lower is better; a difference is arm minus baseline, so a negative one speaks for the arm.
"""

import math
from bisect import bisect_left
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import ttost_paired

from senet_lab.analysis.statistics import CONFIDENCE, POWER, detectable, holm, paired_power
from senet_lab.config import Family

ALPHA = 1 - CONFIDENCE
BOOTSTRAP_FROM = 50
"""Minimal number of values for the bootstrap interval; below, only Student's interval holds its level.

docs/statistics.md has the coverage of both, measured.
"""
DECIMALS = 12
"""Decimals to which differences are rounded, so that floating-point noise breaks no ties."""

FINALS_COLUMNS = ("block", "arm", "seed", "error", "diverged")
EFFECTS_COLUMNS = (
    "block", "arm", "baseline", "tested", "n", "arm_error", "baseline_error", "difference", "std", "low",
    "high", "interval", "effect", "p", "p_holm", "p_better", "p_better_low", "p_better_high", "p_equivalent",
    "p_equivalent_holm", "equivalent", "correlation", "claim",
)  # fmt: skip
ARMS_COLUMNS = (
    "block", "arm", "baseline", "n", "error", "low", "high", "std", "diverged", "rank", "best", "tied",
)  # fmt: skip
POWER_COLUMNS = (
    "block", "std", "seeds", "n", "comparisons", "detectable", "detectable_holm", "needed", "needed_holm",
)  # fmt: skip


@dataclass(frozen=True)
class Rules:
    """The rules for a comparison's claims, declared before its first run."""

    baseline: str
    """The arm with which the others are compared."""
    smallest_difference: float
    """The smallest difference of error that matters, a fraction; equivalence is within it."""
    family: Family = Family.pairs

    def tests(self, arm: str, other: str) -> bool:
        """Whether the pair belongs to the declared family."""
        return self.family is Family.pairs or self.baseline in (arm, other)

    def comparisons(self, arms: int, blocks: int) -> int:
        """The size of the family."""
        return blocks * (math.comb(arms, 2) if self.family is Family.pairs else arms - 1)


class Claim(StrEnum):
    """The supported claim about the first arm of a pair."""

    better = "better"
    worse = "worse"
    equivalent = "equivalent"
    none = "none"
    untested = "untested"
    """Outside the declared family."""


def effects(finals: pd.DataFrame, rules: Rules) -> pd.DataFrame:
    """Pairwise effects of the arms of each block, over their common seeds.

    The mean difference has Student's interval below `BOOTSTRAP_FROM` pairs and the BCa bootstrap's from there
    (Efron 1987); p is the two-sided paired t test's. P(better) is the share of pairs in which the arm has the
    lower error, ties counting half, with Wilson's interval. Equivalence is two one-sided t tests (Schuirmann
    1987) against the smallest difference. Holm's correction spans the family over all blocks, once for the
    differences and once for the equivalences. Better or worse needs a corrected p below 5 % and an interval
    on the same side of 0.

    Args:
        finals: `FINALS_COLUMNS`, one row per run; a diverged run has the error of the declared rule.
        rules: baseline, smallest difference and family.

    Returns:
        `EFFECTS_COLUMNS`, one row per pair: in each block first each arm against the declared baseline, then
        the other pairs, the arm with the lower mean error first. `tested`: the pair belongs to the family;
        others have intervals but no p and no claim. `effect`: the mean difference over `std`, the standard
        deviation of the differences. p values are NaN for a single pair, or if the differences do not vary.
    """
    rows = [
        {"block": block, **_pair(first, second, rules)}
        for block, runs in finals.groupby("block", sort=False)
        for first, second in _pairs(runs, rules.baseline)
    ]
    table = pd.DataFrame(rows, columns=EFFECTS_COLUMNS)
    for name in ("p", "p_equivalent"):
        table[f"{name}_holm"] = family_holm(table[name], table["tested"])
    table["equivalent"] = table["p_equivalent_holm"] < ALPHA
    table["claim"] = [_claim(row) for row in table.itertuples()]
    return table


def interval(values: np.ndarray) -> tuple[float, float, str]:
    """The interval of the mean of `values` at `CONFIDENCE`: low, high, and its method.

    The bootstrap's draws are the same in every call, so that equal records give equal intervals. NaN, NaN and
    "none" where there are fewer than two values or they do not vary.
    """
    if len(values) < 2 or np.ptp(values) == 0:
        return math.nan, math.nan, "none"
    if len(values) < BOOTSTRAP_FROM:
        found, method = stats.ttest_1samp(values, 0).confidence_interval(CONFIDENCE), "t"
    else:
        result = stats.bootstrap(
            (values,),
            _mean,
            vectorized=True,
            confidence_level=CONFIDENCE,
            method="BCa",
            random_state=np.random.default_rng(0),
        )
        found, method = result.confidence_interval, "BCa"
    return float(found.low), float(found.high), method


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
    return values.mean(axis=axis)


def family_holm(p: pd.Series, tested: pd.Series) -> np.ndarray:
    """Holm's correction within the family; a pair whose test was not possible counts in it with p = 1."""
    corrected = np.full(len(p), np.nan)
    corrected[tested] = holm(p[tested].fillna(1.0))
    return np.where(p.isna(), np.nan, corrected)


def _pairs(runs: pd.DataFrame, baseline: str) -> list[tuple[pd.Series, pd.Series]]:
    """The errors by seed of each pair of arms, in the order of `effects`; a series has its arm's name."""
    errors = runs.pivot(index="seed", columns="arm", values="error").sort_index()
    by_mean = errors[errors.mean().sort_values(kind="stable").index]
    columns = {arm: by_mean[arm] for arm in by_mean.columns}
    others = [arm for arm in columns if arm != baseline]
    against = [(arm, baseline) for arm in others if baseline in columns]
    return [(columns[one], columns[two]) for one, two in [*against, *combinations(others, 2)]]


def _pair(first: pd.Series, second: pd.Series, rules: Rules) -> dict[str, Any]:
    """The columns of a pair that do not depend on other pairs."""
    one, two = first.to_numpy(float), second.to_numpy(float)
    both = np.isfinite(one) & np.isfinite(two)
    one, two = one[both], two[both]
    differences, n = np.round(one - two, DECIMALS), len(one)
    low, high, method = interval(differences)
    varies = method != "none"
    tested = rules.tests(str(first.name), str(second.name))
    better = (differences < 0).sum() + (differences == 0).sum() / 2
    p_low, p_high = proportion_confint(better, n, alpha=ALPHA, method="wilson") if n else (0.0, 1.0)
    margin, std = rules.smallest_difference, differences.std(ddof=1) if n > 1 else math.nan
    return {
        "arm": first.name,
        "baseline": second.name,
        "tested": tested,
        "n": n,
        "arm_error": one.mean() if n else math.nan,
        "baseline_error": two.mean() if n else math.nan,
        "difference": differences.mean() if n else math.nan,
        "std": std,
        "low": low,
        "high": high,
        "interval": method,
        "effect": differences.mean() / std if varies else math.nan,
        "p": stats.ttest_1samp(differences, 0).pvalue if varies and tested else math.nan,
        "p_better": better / n if n else math.nan,
        "p_better_low": p_low,
        "p_better_high": p_high,
        "p_equivalent": ttost_paired(one, two, -margin, margin)[0] if varies and tested else math.nan,
        "correlation": _correlation(one, two),
    }


def _correlation(one: np.ndarray, two: np.ndarray) -> float:
    """Pearson's correlation; NaN below three pairs or if one side is constant."""
    if len(one) < 3 or np.ptp(one) == 0 or np.ptp(two) == 0:
        return math.nan
    return float(np.corrcoef(one, two)[0, 1])


def _claim(pair: Any) -> Claim:
    if not pair.tested:
        return Claim.untested
    if pair.p_holm < ALPHA and pair.high < 0:
        return Claim.better
    if pair.p_holm < ALPHA and pair.low > 0:
        return Claim.worse
    return Claim.equivalent if pair.equivalent else Claim.none


def arms(finals: pd.DataFrame, pairs: pd.DataFrame, rules: Rules) -> pd.DataFrame:
    """Statistics of the arms of each block, the lowest mean error first.

    Args:
        finals: see `effects`.
        pairs: their `effects`.
        rules: the same rules.

    Returns:
        `ARMS_COLUMNS`: `baseline` marks the declared one, `low` and `high` are the interval of the mean
        error, `diverged` counts runs, `rank` is by mean error (ties share the mean rank), `best` marks the
        lowest mean, `tied` the arms without a claimed difference from it.
    """
    parts = []
    for block, runs in finals.groupby("block", sort=False):
        rows = [{"block": block, "arm": arm, **mean_of(own)} for arm, own in runs.groupby("arm", sort=False)]
        table = pd.DataFrame(rows, columns=ARMS_COLUMNS).sort_values("error", kind="stable")
        best = table["arm"].iloc[0]
        mine = pairs[pairs["block"] == block]
        apart = mine[mine["claim"].isin([Claim.better, Claim.worse])]
        apart = {frozenset(pair) for pair in zip(apart["arm"], apart["baseline"], strict=True)}
        parts.append(
            table.assign(
                rank=table["error"].rank(),
                best=table["arm"] == best,
                tied=[arm != best and frozenset((arm, best)) not in apart for arm in table["arm"]],
                baseline=table["arm"] == rules.baseline,
            )
        )
    return pd.concat(parts, ignore_index=True)


def mean_of(runs: pd.DataFrame) -> dict[str, Any]:
    """Statistics of runs that differ in the seed only.

    Args:
        runs: columns `error` and `diverged`.

    Returns:
        `n`, the mean `error`, its interval from `low` to `high`, the sample standard deviation `std` (NaN for
        a single run), and the number of `diverged` runs.
    """
    errors = runs["error"].to_numpy(float)
    low, high, _ = interval(errors)
    return {
        "n": len(errors),
        "error": errors.mean(),
        "low": low,
        "high": high,
        "std": errors.std(ddof=1) if len(errors) > 1 else math.nan,
        "diverged": int(runs["diverged"].sum()),
    }


def power(tuned: pd.DataFrame, n: int, rules: Rules) -> pd.DataFrame:
    """Power analysis of `n` confirmation seeds in each block, from the spread of the tuning runs.

    Args:
        tuned: `FINALS_COLUMNS` of the tuning runs at each arm's chosen rate, errors of the validation part.
        n: confirmation seeds.
        rules: the declared family and smallest difference.

    Returns:
        `POWER_COLUMNS`: `std` is the pooled standard deviation of the differences between pairs of the family
        over `seeds` tuning seeds; `detectable` is the true difference of error that `n` pairs find with power
        `POWER` at 5 %, `needed` the pairs that find the smallest difference; `_holm`: the same at 5 % over
        the `comparisons` of the family, the level of Holm's first step. NaN if the tuning runs have no
        spread.
    """
    pairs = effects(tuned, rules)
    comparisons = rules.comparisons(tuned["arm"].nunique(), tuned["block"].nunique())
    rows = []
    for block, mine in pairs[pairs["tested"]].groupby("block", sort=False):
        std = math.sqrt((mine["std"] ** 2).mean())
        row = {"block": block, "std": std, "seeds": mine["n"].min(), "n": n, "comparisons": comparisons}
        for suffix, alpha in (("", ALPHA), ("_holm", ALPHA / comparisons)):
            row[f"detectable{suffix}"] = std * detectable(n, None, alpha)
            row[f"needed{suffix}"] = (
                pairs_needed(rules.smallest_difference / std, alpha) if std > 0 else math.nan
            )
        rows.append(row)
    return pd.DataFrame(rows, columns=POWER_COLUMNS)


def pairs_needed(effect: float, alpha: float) -> int:
    """Number of pairs with which a two-sided paired t test finds a difference with power `POWER`.

    Args:
        effect: the true difference in standard deviations of the differences.
        alpha: the level of the test.
    """
    high = 2
    while paired_power(effect, high, alpha) < POWER:
        high *= 2
    return bisect_left(range(high), POWER, lo=2, key=lambda n: paired_power(effect, n, alpha))
