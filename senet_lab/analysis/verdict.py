"""The verdict of a comparison: differences between arms as supported claims.

Sentences give differences in points: hundredths of the error rate.
"""

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from senet_lab.analysis.blocks import Across, across_blocks
from senet_lab.analysis.effects import Claim, Rules, arms, effects
from senet_lab.text import counted, separator

MOST_DECIMALS = 4
READING = (
    "A point is a hundredth of the error rate; a pair, two arms' runs with the same seed. A 95 % interval "
    "holds the true value in 95 of 100 such comparisons. Where nothing can be said, arms may still differ, "
    "by as much as the interval allows."
)
"""How to read the words of a verdict."""


@dataclass(frozen=True)
class Verdict:
    """All tables of a comparison; errors and differences are fractions."""

    rules: Rules
    arms: pd.DataFrame
    """`effects.ARMS_COLUMNS`: a row for each block and arm."""
    pairs: pd.DataFrame
    """`effects.EFFECTS_COLUMNS` and `sentence`: a row for each block and pair of arms."""
    across: Across
    """The arms over all blocks."""

    @property
    def blocks(self) -> list[str]:
        """The blocks, in the order of the records."""
        return list(self.arms["block"].unique())

    @property
    def order(self) -> list[str]:
        """The arms by their mean rank over the blocks, the best first."""
        ranks = self.arms.groupby("arm", sort=False)["rank"].mean()
        return list(ranks.sort_values(kind="stable").index)

    def lead(self) -> list[str]:
        """The verdict in words: for each block the best arm and the claims, then the arms over all blocks."""
        several = len(self.blocks) > 1
        sentences = []
        for block in self.blocks:
            table = self.arms[self.arms["block"] == block]
            found = [_best(table), *_diverged(table), *self._claims(block, against_baseline_alone=several)]
            sentences += [f"{block}: {text}" if several else text for text in found]
        return sentences + across_sentences(self.across)

    def _claims(self, block: str, against_baseline_alone: bool) -> list[str]:
        """Sentences on pairs with the baseline, on other pairs with a claim, and the number without one."""
        pairs = self.pairs[self.pairs["block"] == block]
        against = pairs["baseline"] == self.rules.baseline
        sentences = list(pairs.loc[against, "sentence"])
        if against_baseline_alone:
            return sentences
        silent = pairs["claim"].isin([Claim.none, Claim.untested])
        sentences += list(pairs.loc[~against & ~silent, "sentence"])
        if (~against & silent).any():
            rest = counted((~against & silent).sum(), "other pair")
            sentences.append(f"Nothing can be said about {rest} of arms.")
        return sentences


def judge(finals: pd.DataFrame, rules: Rules) -> Verdict:
    """The verdict on the confirmation runs.

    Args:
        finals: `effects.FINALS_COLUMNS`, one row per run.
        rules: the declared baseline, smallest difference and family.
    """
    pairs = effects(finals, rules)
    comparisons = int(pairs["tested"].sum())
    sentences = [sentence(pair, rules, comparisons) for pair in pairs.itertuples()]
    pairs = pairs.assign(sentence=sentences)
    return Verdict(rules, arms(finals, pairs, rules), pairs, across_blocks(finals))


def sentence(pair: Any, rules: Rules, comparisons: int) -> str:
    """One pair in words.

    Args:
        pair: a row of `effects`.
        rules: the declarations.
        comparisons: the size of the family.
    """
    runs = counted(pair.n, "pair")
    if pair.interval == "none":
        same = f"in {runs} the difference is always {points(pair.difference, 2)} points, and without a spread"
        reason = f"a test takes 2 pairs or more, not {pair.n}" if pair.n < 2 else f"{same} there is no test"
        return f"Nothing can be said about {pair.arm} and {pair.baseline}: {reason}."
    span = (pair.low, pair.difference, pair.high)
    digits = decimals(pair.low, pair.high)
    found = f"95 % interval {points(pair.low, digits)} to {points(pair.high, digits)}"
    margin = counted(100 * rules.smallest_difference, "point")
    if pair.claim in (Claim.better, Claim.worse):
        # A positive number: the amount by which one arm is better, or worse.
        low, by, high = (points(value, digits) for value in sorted(map(abs, span)))
        words = (
            f"{pair.arm} is {pair.claim} than {pair.baseline} by {by} points "
            f"(95 % interval {low} to {high}), {runs}"
        )
        matters = counted(100 * rules.smallest_difference, "point that matters", "points that matter")
        less = f": less than the {matters}"
        return f"{words}{less if pair.equivalent else ''}."
    if pair.claim == Claim.equivalent:
        return (
            f"{pair.arm} and {pair.baseline} are equivalent within {margin} "
            f"(difference {points(pair.difference, digits)}, {found}), {runs}."
        )
    difference = (
        f"{pair.arm} − {pair.baseline} is {points(pair.difference, digits)} points of error ({found}), {runs}"
    )
    if pair.claim == Claim.untested:
        return f"{pair.arm} and {pair.baseline} are outside the declared family: {difference}."
    return f"Nothing can be said about {pair.arm} and {pair.baseline}: {difference}{_why(pair, comparisons)}."


def _why(pair: Any, comparisons: int) -> str:
    """The reason for no claim although the interval alone would suggest one."""
    if (pair.low <= 0 <= pair.high) or comparisons == 1:
        return ""
    after = f"p = {pair.p_holm:.2f} after Holm's correction"
    return f"; among {comparisons} comparisons that is not enough ({after})"


def _best(table: pd.DataFrame) -> str:
    """A sentence on the arm with the lowest mean error and those not significantly worse."""
    best = table[table["best"]].iloc[0]
    tied = list(table.loc[table["tied"], "arm"])
    digits = 2 if math.isnan(best["low"]) else decimals(best["low"], best["high"])
    span = f", 95 % interval {points(best['low'], digits)} to {points(best['high'], digits)}"
    found = (
        f"{best['arm']} has the lowest mean error, {points(best['error'], digits)} %"
        f" ({counted(best['n'], 'run')}{'' if math.isnan(best['low']) else span})"
    )
    if not tied:
        return f"{found}, and every other arm is worse."
    return f"{found}; not told apart from it: {separator(tied).join(tied)}."


def _diverged(table: pd.DataFrame) -> list[str]:
    """Sentences on diverged runs, which count with the error of the declared rule."""
    return [
        f"{row.diverged} of {counted(row.n, 'run')} with {row.arm} diverged: counted as errors of chance."
        for row in table.itertuples()
        if row.diverged
    ]


def across_sentences(across: Across) -> list[str]:
    """Sentences on the arms over all blocks; none for a single block."""
    if across.refusal:
        blocks = 0 if across.ranks.empty else across.ranks["blocks"].iloc[0]
        return [f"Over all blocks nothing can be said: {across.refusal}."] if blocks > 1 else []
    claims = across.pairs[across.pairs["claim"] != Claim.none]
    if claims.empty:
        return ["Over all blocks no two arms can be told apart."]
    return [
        f"Over {row.blocks} blocks {row.arm} is {row.claim} than {row.baseline} "
        f"(Wilcoxon's test, p = {row.p_holm:.2g} after Holm's correction)."
        for row in claims.itertuples()
    ]


def decimals(low: float, high: float) -> int:
    """Decimals of points that show an interval's first digit, and no non-zero bound as 0."""
    half = 100 * (high - low) / 2
    digits = max(1, math.ceil(-math.log10(half))) if half > 0 else 1
    while digits < MOST_DECIMALS and any(bound and round(100 * bound, digits) == 0 for bound in (low, high)):
        digits += 1
    return min(digits, MOST_DECIMALS)


def points(fraction: float, digits: int) -> str:
    """A fraction of error in points, with a true minus sign; no negative zero."""
    text = f"{100 * fraction:.{digits}f}"
    return text.replace("-", "−") if float(text) else text.removeprefix("-")
