"""The statistics of the final tables against scipy by hand, and against cases whose answer is known."""

import numpy as np
import pandas as pd
import pytest
from records_on_disk import panels_of, run_config, write_run
from scipy import stats

from senet_lab.analysis.curves import curves, finals, states, values
from senet_lab.analysis.metrics import find_metric
from senet_lab.analysis.statistics import (
    detectable,
    holm,
    over_seeds,
    pairwise,
    what_it_can_show,
    with_statistics,
)

ERROR = find_metric("test_error")


def panels_with(sweep, runs):
    """Panels of runs given as {(activation, seed): top-1 of each epoch}."""
    for (activation, seed), top1 in runs.items():
        write_run(sweep, run_config(activation=activation, seed=seed), top1)
    return panels_of(sweep)


def table_of(panels, target=None, metric=ERROR):
    table = curves(values(panels, metric))
    return with_statistics(finals(table, states(panels)), table, metric, target).set_index("line")


def pairs_of(sweep, runs):
    return pairwise(values(panels_with(sweep, runs), ERROR))


@pytest.mark.parametrize("n", [2, 3, 10])
def test_mean_spread_and_interval_over_seeds(n):
    numbers = np.random.default_rng(0).normal(size=n)
    runs = pd.DataFrame({"line": "a", "seed": range(n), "value": numbers})
    runs = pd.concat([runs, pd.DataFrame({"line": ["a", "b"], "seed": [n, 0], "value": [np.nan, 1.0]})])
    first, second = over_seeds(runs, ["line"]).to_dict("records")
    low, high = stats.ttest_1samp(numbers, 0).confidence_interval(0.95)
    assert (first["n"], second["n"]) == (n, 1)
    assert (first["mean"], first["std"]) == pytest.approx((numbers.mean(), numbers.std(ddof=1)))
    assert (first["sem"], first["low"], first["high"]) == pytest.approx((stats.sem(numbers), low, high))
    assert all(np.isnan(second[key]) for key in ("std", "sem", "low", "high"))


def test_interval_is_the_one_of_student(tmp_path):
    top1 = [0.7, 0.72, 0.77]
    row = table_of(panels_with(tmp_path, {("relu", seed): [value] for seed, value in enumerate(top1)})).loc[
        "ReLU"
    ]
    errors = 1 - np.array(top1)
    low, high = stats.ttest_1samp(errors, 0).confidence_interval(0.95)
    assert row["sem"] == pytest.approx(errors.std(ddof=1) / 3**0.5)
    assert (row["t_low"], row["t_high"]) == pytest.approx((low, high))
    assert (row["t_high"] - row["mean"]) / row["std"] == pytest.approx(2.484, abs=1e-3)


def test_best_epoch_target_and_area(tmp_path):
    panels = panels_with(tmp_path, {("relu", 0): [0.5, 0.75, 0.625], ("mish", 0): [0.25, 0.5, 0.5]})
    table = table_of(panels)
    assert table.loc["ReLU", ["best_epoch", "best_mean"]].tolist() == [1, 0.25]
    assert table["target_error"].tolist() == [0.5, 0.5], "the lowest error that both reach"
    assert table["target_epoch"].tolist() == [0, 1]
    assert table["area"].tolist() == [0.375 + 0.3125, 0.625 + 0.5]
    given = table_of(panels, target=0.4)
    assert given.loc["ReLU", "target_epoch"] == 1
    assert pd.isna(given.loc["Mish", "target_epoch"])


def test_the_best_accuracy_is_the_highest(tmp_path):
    panels = panels_with(tmp_path, {("relu", 0): [0.5, 0.75, 0.625], ("mish", 0): [0.25, 0.5, 0.5]})
    table = table_of(panels, metric=find_metric("test_top1"))
    assert table.loc["ReLU", ["best_epoch", "best_mean"]].tolist() == [1, 0.75]
    assert table["target_error"].tolist() == [0.5, 0.5], "the highest accuracy that both reach"
    assert table["target_epoch"].tolist() == [0, 1]
    assert table.loc["ReLU", "area"] == 0.625 + 0.6875


def test_epochs_that_fewer_runs_reached_do_not_count_for_the_best(tmp_path):
    panels = panels_with(tmp_path, {("relu", 0): [0.5, 0.6], ("relu", 1): [0.5, 0.6, 0.9]})
    row = table_of(panels).loc["ReLU"]
    assert row["best_epoch"] == 1
    assert (row["area"], row["area_epoch"]) == pytest.approx((0.45, 1))


def test_a_line_without_an_epoch_has_no_statistics(tmp_path):
    panels = panels_with(tmp_path, {("relu", 0): [0.5], ("mish", 0): []})
    row = table_of(panels).loc["Mish"]
    assert row[["sem", "t_low", "best_epoch", "best_mean", "target_epoch", "area"]].isna().all()


def test_shared_seeds_are_compared_as_pairs(tmp_path):
    runs = {("relu", s): [0.5 + 0.1 * s] for s in range(3)}
    runs |= {("mish", s): [0.5 + 0.1 * s + d] for s, d in enumerate((0.01, 0.012, 0.014))}
    pairs = pairs_of(tmp_path, runs)
    (row,) = pairs.to_dict("records")
    expected = stats.ttest_rel([0.5, 0.4, 0.3], [0.49, 0.388, 0.286])
    assert (row["first"], row["second"], row["test"], row["n"]) == ("ReLU", "Mish", "paired t", "3")
    assert row["difference"] == pytest.approx(0.012)
    assert row["p"] == pytest.approx(expected.pvalue)
    assert row["p"] < 0.01 < stats.ttest_ind([0.5, 0.4, 0.3], [0.49, 0.388, 0.286]).pvalue
    assert row["low"] < 0.012 < row["high"]


def test_other_seeds_are_compared_by_welch_and_unequal_lengths_at_the_epoch_both_have(tmp_path):
    runs = {("relu", s): [0.5 + 0.01 * s, 0.9] for s in range(3)}
    runs |= {("mish", s): [0.6 + 0.02 * s] for s in (7, 8)}
    (row,) = pairs_of(tmp_path, runs).to_dict("records")
    expected = stats.ttest_ind([0.5, 0.49, 0.48], [0.26, 0.24], equal_var=False)
    assert (row["test"], row["n"], row["epoch"]) == ("Welch's t", "3 + 2", 0)
    assert row["p"] == pytest.approx(expected.pvalue)


def test_holm_multiplies_the_smallest_by_all_and_never_decreases():
    assert holm([0.01, 0.04, 0.03, np.nan]) == pytest.approx([0.03, 0.06, 0.06, np.nan], nan_ok=True)


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_single_and_identical_runs_have_no_p_value(tmp_path):
    runs = {("relu", 0): [0.5], ("mish", 0): [0.6], ("tact", 0): []}
    (row,) = pairs_of(tmp_path / "single", runs).to_dict("records")
    assert (row["test"], row["difference"]) == ("none", pytest.approx(0.1))
    assert np.isnan(row["p"])
    same = {(name, seed): [0.5 + seed / 8] for name in ("relu", "mish") for seed in range(3)}
    (row,) = pairs_of(tmp_path / "same", same).to_dict("records")
    assert (row["test"], row["difference"]) == ("none", 0)


def test_power_of_three_against_three():
    # d with power 0.8 at 5 %, n = 3 a side: the noncentral t distribution with 4 degrees of freedom.
    effect = detectable(3, 3)
    critical = stats.t.ppf(0.975, 4)
    reached = stats.nct.sf(critical, 4, effect * 1.5**0.5) + stats.nct.cdf(-critical, 4, effect * 1.5**0.5)
    assert reached == pytest.approx(0.8, abs=1e-4)
    assert "n = 3" in what_it_can_show(3)
    assert f"{effect:.1f} standard" in what_it_can_show(3)
    assert "single run" in what_it_can_show(1)
