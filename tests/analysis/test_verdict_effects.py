"""Differences, claims and power against direct calls of scipy and statsmodels, and against known truth."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import ttost_paired

from senet_lab.analysis.effects import DECIMALS, Claim, Rules, arms, effects, pairs_needed, power
from senet_lab.analysis.statistics import detectable
from senet_lab.config import Family

SCRIPTS = Path(__file__).parents[2] / "scripts"
RULES = Rules("ReLU", 0.005)


def finals(block: str = "digits", **errors: list[float]) -> pd.DataFrame:
    """A frame of final errors, seeds from 0, an arm a keyword."""
    rows = [
        {"block": block, "arm": arm, "seed": seed, "error": error, "diverged": False}
        for arm, values in errors.items()
        for seed, error in enumerate(values)
    ]
    return pd.DataFrame(rows)


def drawn(n: int, **means: float) -> pd.DataFrame:
    """`finals` with normal errors around `means`, whose seeds have something in common."""
    rng = np.random.default_rng(1)
    seeds = rng.normal(0, 0.01, n)
    return finals(**{arm: list(mean + seeds + rng.normal(0, 0.01, n)) for arm, mean in means.items()})


def errors_of(table: pd.DataFrame, arm: str) -> np.ndarray:
    return table.loc[table["arm"] == arm, "error"].to_numpy()


@pytest.mark.parametrize("n", [4, 49, 50])
def test_a_pair_is_what_the_libraries_say(n: int) -> None:
    table = drawn(n, ReLU=0.10, Mish=0.09)
    mish, relu = errors_of(table, "Mish"), errors_of(table, "ReLU")
    (row,) = effects(table, RULES).itertuples()
    assert (row.arm, row.baseline, row.n) == ("Mish", "ReLU", n)
    assert row.difference == pytest.approx(mish.mean() - relu.mean())
    test = stats.ttest_rel(mish, relu)
    assert row.p == pytest.approx(test.pvalue)
    if n < 50:
        expected = test.confidence_interval(0.95)
    else:
        differences = np.round(mish - relu, DECIMALS)  # as resampled: BCa counts ties
        expected = stats.bootstrap(
            (differences,), np.mean, method="BCa", random_state=np.random.default_rng(0)
        ).confidence_interval
    assert (row.low, row.high) == pytest.approx(tuple(expected))
    assert row.interval == ("t" if n < 50 else "BCa")
    assert row.effect == pytest.approx((mish - relu).mean() / (mish - relu).std(ddof=1))
    assert row.p_equivalent == pytest.approx(ttost_paired(mish, relu, -0.005, 0.005)[0])
    wins = (mish < relu).sum()
    assert row.p_better == wins / n
    expected = proportion_confint(wins, n, method="wilson")
    assert (row.p_better_low, row.p_better_high) == pytest.approx(expected)
    assert row.correlation == pytest.approx(stats.pearsonr(mish, relu).statistic)


def test_pairs_are_made_by_seed_and_not_by_row() -> None:
    table = drawn(6, ReLU=0.10, Mish=0.09)
    expected = effects(table, RULES)
    shuffled = table.sample(frac=1, random_state=3)
    pd.testing.assert_frame_equal(effects(shuffled, RULES), expected)
    (row,) = effects(table[(table["arm"] == "ReLU") | (table["seed"] > 1)], RULES).itertuples()
    assert row.n == 4
    assert row.baseline_error == pytest.approx(errors_of(table, "ReLU")[2:].mean())


def test_the_baseline_comes_first_then_the_better_of_two() -> None:
    table = drawn(5, Swish=0.3, ReLU=0.1, Mish=0.2)
    pairs = effects(table, RULES)[["arm", "baseline"]].to_numpy().tolist()
    assert pairs == [["Mish", "ReLU"], ["Swish", "ReLU"], ["Mish", "Swish"]]


def test_holm_spans_the_family_over_all_blocks() -> None:
    table = pd.concat(
        [drawn(6, ReLU=0.1, Mish=0.11, Swish=0.12), drawn(7, ReLU=0.1, Mish=0.12).assign(block="other")]
    )
    pairs = effects(table, RULES)
    assert len(pairs) == 4
    assert pairs["p_holm"].tolist() == pytest.approx(multipletests(pairs["p"], method="holm")[1])
    equivalent = multipletests(pairs["p_equivalent"], method="holm")[1]
    assert pairs["p_equivalent_holm"].tolist() == pytest.approx(equivalent)
    declared = effects(table, Rules("ReLU", 0.005, Family.baseline))
    tested = declared[declared["tested"]]
    assert len(tested) == 3
    assert tested["p_holm"].tolist() == pytest.approx(multipletests(tested["p"], method="holm")[1])
    (outside,) = declared[~declared["tested"]].itertuples()
    assert np.isnan([outside.p, outside.p_holm]).all()
    assert outside.claim == Claim.untested
    assert outside.low < outside.difference < outside.high


def test_a_test_that_is_not_possible_counts_in_the_family() -> None:
    table = finals(ReLU=[0.1, 0.2, 0.3], Same=[0.1, 0.2, 0.3], Mish=[0.09, 0.188, 0.286])
    pairs = effects(table, RULES).set_index(["arm", "baseline"])
    same = pairs.loc[("Same", "ReLU")]
    assert (same["difference"], same["p_better"], same["claim"]) == (0, 0.5, Claim.none)
    assert np.isnan(same["p"])
    assert np.isnan(same["p_holm"])
    mish = pairs.loc[("Mish", "ReLU")]
    assert mish["p_holm"] == pytest.approx(3 * mish["p"])


def test_equal_differences_of_different_errors_are_no_evidence() -> None:
    one, two = [0.1, 0.2, 0.30000000000000004], [0.05, 0.15, 0.25]
    assert np.ptp(np.subtract(one, two)) > 0, "the computer's differences differ in their last bits"
    (row,) = effects(finals(ReLU=one, Mish=two), RULES).itertuples()
    assert np.isnan([row.p, row.low, row.high, row.effect]).all()
    assert row.claim == Claim.none


def test_a_single_pair_and_none_at_all_have_no_interval() -> None:
    (single,) = effects(finals(ReLU=[0.1], Mish=[0.2]), RULES).itertuples()
    assert (single.n, single.interval, single.claim) == (1, "none", Claim.none)
    assert single.difference == pytest.approx(0.1)
    apart = finals(ReLU=[0.1], Mish=[0.2])
    apart["seed"] = [0, 1]
    (none,) = effects(apart, RULES).itertuples()
    assert (none.n, none.claim) == (0, Claim.none)
    assert (none.p_better_low, none.p_better_high) == (0, 1)


@pytest.mark.parametrize(
    ("difference", "spread", "claim", "equivalent"),
    [
        (-0.02, 0.01, Claim.better, False),
        (0.02, 0.01, Claim.worse, False),
        (-0.002, 0.0005, Claim.better, True),
        (0.0, 0.003, Claim.equivalent, True),
        (0.0, 0.03, Claim.none, False),
    ],
)
def test_claims_follow_difference_and_spread(
    difference: float, spread: float, claim: Claim, equivalent: bool
) -> None:
    noise = spread * stats.norm.ppf((np.arange(12) + 0.5) / 12)
    table = finals(ReLU=[0.1] * 12, Mish=list(0.1 + difference + noise))
    (row,) = effects(table, RULES).itertuples()
    assert (row.claim, row.equivalent) == (claim, equivalent)


def test_arms_are_ranked_and_those_not_told_apart_from_the_best_are_tied() -> None:
    noise = 0.001 * stats.norm.ppf((np.arange(6) + 0.5) / 6)
    table = finals(
        ReLU=list(0.1 + noise), Mish=list(0.1001 + noise[::-1]), Swish=list(0.2 - noise), Odd=[0.9] * 6
    )
    table["diverged"] = table["arm"] == "Odd"
    found = arms(table, effects(table, RULES), RULES).set_index("arm")
    assert found.loc["ReLU", "baseline"]
    assert found["rank"].tolist() == [1.0, 2.0, 3.0, 4.0]
    assert found["best"].tolist() == [True, False, False, False]
    assert found["tied"].tolist() == [False, True, False, False]
    assert found["diverged"].tolist() == [0, 0, 0, 6]
    errors = errors_of(table, "Swish")
    expected = stats.ttest_1samp(errors, 0).confidence_interval(0.95)
    assert found.loc["Swish", ["low", "high"]].tolist() == pytest.approx(list(expected))


@pytest.mark.parametrize("n", [3, 5, 10, 20])
def test_the_detectable_difference_has_the_power(n: int) -> None:
    for alpha in (0.05, 0.05 / 66):
        effect = detectable(n, None, alpha)
        assert TTestPower().power(effect, n, alpha / 2, alternative="larger") == pytest.approx(0.8)
        assert pairs_needed(effect * 1.0001, alpha) == n
        assert pairs_needed(effect * 0.9999, alpha) == n + 1
    expected = TTestPower().solve_power(nobs=n, alpha=0.05, power=0.8)
    assert detectable(n, None) == pytest.approx(expected, rel=1e-5)


def test_power_comes_from_the_spread_of_the_tuning_runs() -> None:
    table = drawn(3, ReLU=0.1, Mish=0.1, Swish=0.1)
    rules = Rules("ReLU", 0.005, Family.baseline)
    (row,) = power(table, 10, rules).itertuples()
    differences = [errors_of(table, arm) - errors_of(table, "ReLU") for arm in ("Mish", "Swish")]
    std = np.mean([d.var(ddof=1) for d in differences]) ** 0.5
    assert (row.std, row.seeds, row.n, row.comparisons) == (pytest.approx(std), 3, 10, 2)
    assert row.detectable == pytest.approx(detectable(10, None) * std)
    assert row.detectable_holm == pytest.approx(detectable(10, None, 0.025) * std)
    assert row.needed == pairs_needed(0.005 / std, 0.05)
    assert row.needed_holm == pairs_needed(0.005 / std, 0.025) > row.needed
    (blind,) = power(table[table["seed"] == 0], 10, rules).itertuples()
    assert np.isnan([blind.std, blind.detectable, blind.needed]).all()


def test_simulations_keep_their_promises(monkeypatch: pytest.MonkeyPatch) -> None:
    """A short form of scripts/verdict_simulations.py: bounds that chance alone breaks once in 1,000 times."""
    monkeypatch.syspath_prepend(SCRIPTS)
    import verdict_simulations as simulations

    count = 120
    most, least = (stats.binom.ppf(q, count, p) / count for q, p in ((0.999, 0.05), (0.001, 0.95)))
    assert simulations.false_claims(simulations.counted, 3, count).share <= most
    assert simulations.false_equivalences(5, count).share <= most
    assert simulations.coverage(simulations.normal, 5, count).share >= least
    assert simulations.coverage_of_p_better(5, count).share >= least
    low, high = stats.binom.ppf([0.001, 0.999], count, 0.8) / count
    assert low <= simulations.power(5, count).share <= high
