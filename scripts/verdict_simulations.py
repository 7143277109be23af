"""False claims, power and coverage of the verdict, on simulated runs whose truth is known.

    python scripts/verdict_simulations.py                     # 2,000 comparisons a case, half an hour
    python scripts/verdict_simulations.py --comparisons 200

The last recorded outcome stands in docs/statistics.md.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from senet_lab.analysis.effects import DECIMALS, Claim, Rules, effects, interval
from senet_lab.analysis.statistics import CONFIDENCE, POWER, detectable
from senet_lab.config import Family

STD = 0.01
"""The standard deviation of a simulated run's error."""

Draw = Callable[[np.random.Generator, int, int], np.ndarray]
"""Errors of runs, (arms, seeds), whose arms do not differ."""


def normal(rng: np.random.Generator, arms: int, seeds: int) -> np.ndarray:
    """Independent normal errors."""
    return rng.normal(0.1, STD, (arms, seeds))


def paired(rng: np.random.Generator, arms: int, seeds: int) -> np.ndarray:
    """Normal errors, of which the seed explains three quarters of the variance."""
    return rng.normal(0.1, STD * 0.75**0.5, seeds) + rng.normal(0, STD * 0.25**0.5, (arms, seeds))


def counted(rng: np.random.Generator, arms: int, seeds: int) -> np.ndarray:
    """Wrong ones of 360 test images, 3 % on average: few values, many ties."""
    return rng.binomial(360, 0.03, (arms, seeds)) / 360


def skewed(rng: np.random.Generator, arms: int, seeds: int) -> np.ndarray:
    """Log-normal errors with a long upper tail."""
    return 0.1 + STD * rng.lognormal(0, 1, (arms, seeds))


def diverging(rng: np.random.Generator, arms: int, seeds: int) -> np.ndarray:
    """Normal errors, but a run in ten diverges and counts as chance among ten classes."""
    return np.where(rng.random((arms, seeds)) < 0.1, 0.9, normal(rng, arms, seeds))


DRAWS: dict[str, Draw] = {draw.__name__: draw for draw in (normal, paired, counted, skewed, diverging)}


@dataclass(frozen=True)
class Outcome:
    """Whether something happened in each simulated comparison."""

    measure: str
    case: str
    seeds: int
    expected: str
    happened: Sequence[bool]

    @property
    def share(self) -> float:
        """Share of comparisons in which it happened."""
        return float(np.mean(self.happened))

    def row(self) -> str:
        """One line of a Markdown table, with the 95 % interval of the share."""
        half = 1.96 * (self.share * (1 - self.share) / len(self.happened)) ** 0.5
        measured = f"{100 * self.share:.1f} % ± {100 * half:.1f}"
        return f"| {self.measure} | {self.case} | {self.seeds} | {self.expected} | {measured} |"


def finals(errors: np.ndarray) -> pd.DataFrame:
    """Errors, (arms, seeds), as the frame that `effects` takes; the first arm is called 0."""
    arms, seeds = (index.ravel() for index in np.indices(errors.shape))
    columns = {"block": "simulated", "arm": arms.astype(str), "seed": seeds, "error": errors.ravel()}
    return pd.DataFrame({**columns, "diverged": False})


def simulate(
    happens: Callable[[pd.DataFrame], bool],
    draw: Draw,
    seeds: int,
    comparisons: int,
    shifts: Sequence[float],
    family: Family = Family.pairs,
) -> list[bool]:
    """Whether something happens in the table of each simulated comparison.

    Args:
        happens: the question.
        draw: errors without a difference.
        seeds: pairs of runs.
        comparisons: how many are simulated.
        shifts: the true mean of each arm, added to its errors.
        family: the declared one; the first arm is the baseline.
    """
    rng = np.random.default_rng(0)
    shift = np.array(shifts)[:, None]
    rules = Rules("0", STD, family)
    errors = (draw(rng, len(shifts), seeds) + shift for _ in range(comparisons))
    return [bool(happens(effects(finals(one), rules))) for one in errors]


def false_claims(draw: Draw, seeds: int, comparisons: int, family: Family = Family.pairs) -> Outcome:
    """Rate of claims between four equal arms."""

    def happens(table: pd.DataFrame) -> bool:
        return table["claim"].isin([Claim.better, Claim.worse]).any()

    found = simulate(happens, draw, seeds, comparisons, [0] * 4, family)
    return Outcome("false difference", f"{draw.__name__}, 4 arms, {family}", seeds, "at most 5 %", found)


def false_equivalences(seeds: int, comparisons: int) -> Outcome:
    """Rate of equivalence claims at a true difference equal to the smallest one that matters."""

    def happens(table: pd.DataFrame) -> bool:
        return table["equivalent"].any()

    found = simulate(happens, normal, seeds, comparisons, [0, STD, STD, STD], Family.baseline)
    return Outcome("false equivalence", "normal, 4 arms, baseline", seeds, "at most 5 %", found)


def power(seeds: int, comparisons: int) -> Outcome:
    """Rate at which the difference of `detectable` is found between two arms."""

    def happens(table: pd.DataFrame) -> bool:
        return (table["claim"] == Claim.worse).all()

    found = simulate(happens, normal, seeds, comparisons, [0, detectable(seeds, None) * 2**0.5 * STD])
    return Outcome("power", "normal, the announced difference", seeds, f"{100 * POWER:g} %", found)


def coverage(draw: Draw, seeds: int, comparisons: int) -> Outcome:
    """Coverage of the interval of a difference whose true value is 0; equal pairs count as covered."""

    rng = np.random.default_rng(0)
    differences = (np.diff(draw(rng, 2, seeds), axis=0)[0].round(DECIMALS) for _ in range(comparisons))
    bounds = (interval(one) for one in differences)
    found = [not (low > 0 or high < 0) for low, high, _ in bounds]
    return Outcome("interval of the difference", draw.__name__, seeds, f"{100 * CONFIDENCE:g} %", found)


def coverage_of_p_better(seeds: int, comparisons: int) -> Outcome:
    """Coverage of the interval of P(better), whose true value is Φ(1/√2)."""
    truth = stats.norm.cdf(2**-0.5)

    def happens(table: pd.DataFrame) -> bool:
        return ((table["p_better_low"] <= truth) & (table["p_better_high"] >= truth)).all()

    found = simulate(happens, normal, seeds, comparisons, [0, -STD])
    case = f"normal, P = {truth:.2f}"
    return Outcome("interval of P(better)", case, seeds, f"{100 * CONFIDENCE:g} %", found)


def main() -> None:
    """Print each outcome as it comes, as a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--comparisons", type=int, default=2000, help="simulated comparisons of each case")
    count = parser.parse_args().comparisons
    print("| measure | case | seeds | expected | measured |\n|---|---|---|---|---|")
    for seeds in (3, 5, 10, 20):
        for draw in DRAWS.values():
            print(false_claims(draw, seeds, count).row(), flush=True)
        print(false_claims(normal, seeds, count, family=Family.baseline).row(), flush=True)
    for seeds in (5, 10, 20):
        print(false_equivalences(seeds, count).row(), flush=True)
    for seeds in (3, 5, 10, 20):
        print(power(seeds, count).row(), flush=True)
    for draw in DRAWS.values():
        for seeds in (3, 5, 10, 20, 50):
            print(coverage(draw, seeds, count).row(), flush=True)
    for seeds in (3, 5, 10, 20):
        print(coverage_of_p_better(seeds, count).row(), flush=True)


if __name__ == "__main__":
    main()
