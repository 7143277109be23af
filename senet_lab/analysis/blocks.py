"""Comparison of arms across blocks (network × data set): mean ranks, Wilcoxon's tests, groups.

Wilcoxon's signed-rank test with Holm's correction instead of Nemenyi's, whose answer about two arms depends
on the others: Benavoli, Corani and Mangili, JMLR 17 (2016), arXiv 1505.02288.
"""

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats

from senet_lab.analysis.effects import ALPHA, DECIMALS, Claim
from senet_lab.analysis.statistics import holm
from senet_lab.text import counted

RANKS_COLUMNS = ("arm", "mean_rank", "error", "best_in", "blocks")
ACROSS_COLUMNS = ("arm", "baseline", "blocks", "difference", "p", "p_holm", "claim")
EXACT_BLOCKS = 13
"""Maximal number of blocks for the exact test over all 2^n signs, with ties and zeros."""


@dataclass(frozen=True)
class Across:
    """The arms over all blocks."""

    ranks: pd.DataFrame
    """`RANKS_COLUMNS`, the best first: the means over blocks of an arm's rank by mean error (1 is the lowest,
    ties share the mean rank) and of its mean error, and the number of blocks in which it is best."""
    pairs: pd.DataFrame
    """`ACROSS_COLUMNS`, all pairs of arms, the one with the better mean rank first; `difference` is the
    median over blocks, `p_holm` is corrected over all pairs. Empty if there is a `refusal`."""
    groups: list[list[str]]
    """Groups of arms, adjacent in mean rank, without a significant difference: the bars of a
    critical-difference diagram."""
    refusal: str | None
    """The reason why nothing is tested."""


def across_blocks(finals: pd.DataFrame) -> Across:
    """Compare the arms over the blocks by their mean errors.

    Args:
        finals: `effects.FINALS_COLUMNS`; blocks that lack an arm are ignored.
    """
    means = finals.pivot_table(index="block", columns="arm", values="error", sort=False).dropna()
    ranks = _ranks(means)
    needed = blocks_needed(math.comb(len(ranks), 2))
    if len(means) < needed:
        refusal = (
            f"{len(means)} of at least {needed} blocks: with {len(ranks)} arms the smallest p that "
            f"Wilcoxon's test can give over {counted(len(means), 'block')} is above 5 % after Holm's "
            "correction"
        )
        return Across(ranks, pd.DataFrame(columns=ACROSS_COLUMNS), [], refusal)
    pairs = _pairs(means[list(ranks["arm"])])
    return Across(ranks, pairs, _groups(list(ranks["arm"]), pairs), None)


def blocks_needed(comparisons: int) -> int:
    """Minimal number n of blocks with which Wilcoxon's smallest p, 2/2^n, survives Holm's correction."""
    return math.ceil(1 + math.log2(comparisons / ALPHA))


def _ranks(means: pd.DataFrame) -> pd.DataFrame:
    """Ranks of the arms; `means` has one row per block and one column per arm."""
    places = means.rank(axis="columns")
    table = pd.DataFrame(
        {
            "mean_rank": places.mean(),
            "error": means.mean(),
            "best_in": means.eq(means.min(axis="columns"), axis="index").sum(),
            "blocks": len(means),
        }
    )
    return table.sort_values("mean_rank", kind="stable").rename_axis("arm").reset_index()[list(RANKS_COLUMNS)]


def _pairs(means: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for first, second in combinations(means.columns, 2):
        differences = np.round(means[first] - means[second], DECIMALS).to_numpy()
        rows.append(
            {
                "arm": first,
                "baseline": second,
                "blocks": len(differences),
                "difference": np.median(differences),
                "p": _wilcoxon(differences),
            }
        )
    table = pd.DataFrame(rows)
    table["p_holm"] = holm(table["p"])
    side = np.where(table["difference"] < 0, Claim.better, Claim.worse)
    return table.assign(claim=np.where(table["p_holm"] < ALPHA, side, Claim.none))[list(ACROSS_COLUMNS)]


def _wilcoxon(differences: np.ndarray) -> float:
    if not differences.any():
        return 1.0
    exact = stats.PermutationMethod(n_resamples=2**EXACT_BLOCKS)
    method = exact if len(differences) <= EXACT_BLOCKS else "auto"
    return float(stats.wilcoxon(differences, method=method).pvalue)


def _groups(arms: list[str], pairs: pd.DataFrame) -> list[list[str]]:
    """Maximal groups of at least two arms, adjacent in mean rank, without a significant difference."""
    apart = pairs[pairs["claim"] != Claim.none]
    apart = {frozenset(pair) for pair in zip(apart["arm"], apart["baseline"], strict=True)}
    groups: list[list[str]] = []
    reached = 0
    for start in range(len(arms)):
        end = start + 1
        while end < len(arms) and not any(frozenset((arm, arms[end])) in apart for arm in arms[start:end]):
            end += 1
        if end - start > 1 and end > reached:
            groups.append(arms[start:end])
        reached = max(reached, end)
    return groups
