"""The words of a verdict: true of the numbers, whichever way these fall."""

import pandas as pd
import pytest
from scipy import stats

from senet_lab.analysis.effects import Rules
from senet_lab.analysis.verdict import Verdict, decimals, judge, points
from senet_lab.config import Family

pytestmark = pytest.mark.usefixtures("imports_are_no_garbage")

RULES = Rules("ReLU", 0.005)
NOISE = stats.norm.ppf([(place + 0.5) / 12 for place in range(12)])


def runs(block: str = "CNN on digits", seeds: int = 12, **shifts: tuple[float, float]) -> pd.DataFrame:
    """ReLU at 10 % in each run; another arm with a mean difference and a standard deviation of it."""
    errors = {"ReLU": [0.1] * seeds}
    errors |= {
        arm: [0.1 + mean + std * noise for noise in NOISE[:seeds]] for arm, (mean, std) in shifts.items()
    }
    return pd.DataFrame(
        [
            {"block": block, "arm": arm, "seed": seed, "error": error, "diverged": False}
            for arm, values in errors.items()
            for seed, error in enumerate(values)
        ]
    )


def sentence_of(verdict: Verdict, arm: str, other: str = "ReLU") -> str:
    pairs = verdict.pairs.set_index(["arm", "baseline"])
    return str(pairs.loc[(arm, other), "sentence"])


def test_a_better_arm_is_said_to_be_better_by_a_positive_number() -> None:
    verdict = judge(runs(Mish=(-0.006, 0.005)), RULES)
    assert sentence_of(verdict, "Mish") == (
        "Mish is better than ReLU by 0.6 points (95 % interval 0.3 to 0.9), 12 pairs."
    )


def test_a_worse_arm_is_said_to_be_worse() -> None:
    verdict = judge(runs(Mish=(0.012, 0.01)), RULES)
    assert sentence_of(verdict, "Mish") == (
        "Mish is worse than ReLU by 1.2 points (95 % interval 0.6 to 1.8), 12 pairs."
    )


def test_a_difference_below_the_one_that_matters_is_said_to_be_so() -> None:
    text = sentence_of(judge(runs(Mish=(-0.002, 0.001)), RULES), "Mish")
    assert text.startswith("Mish is better than ReLU by 0.20 points")
    assert text.endswith("12 pairs: less than the 0.5 points that matter.")


def test_equivalent_arms_are_said_to_be_equivalent_within_the_margin() -> None:
    text = sentence_of(judge(runs(Mish=(0.0, 0.003)), RULES), "Mish")
    assert text.startswith("Mish and ReLU are equivalent within 0.5 points (difference 0.0")


def test_without_evidence_nothing_is_said() -> None:
    text = sentence_of(judge(runs(Mish=(-0.001, 0.02)), RULES), "Mish")
    assert text.startswith("Nothing can be said about Mish and ReLU: Mish − ReLU is −0.1 points of error")
    assert text.endswith("12 pairs.")


def test_without_two_pairs_or_a_spread_the_reason_is_named() -> None:
    one = sentence_of(judge(runs(seeds=1, Mish=(-0.1, 0.0)), RULES), "Mish")
    assert one == "Nothing can be said about Mish and ReLU: a test takes 2 pairs or more, not 1."
    same = sentence_of(judge(runs(Mish=(-0.1, 0.0)), RULES), "Mish")
    assert same == (
        "Nothing can be said about Mish and ReLU: in 12 pairs the difference is always −10.00 points, and "
        "without a spread there is no test."
    )


def test_what_the_correction_takes_away_is_told() -> None:
    others = {f"A{place}": (0.001 * place, 0.03) for place in range(6)}
    text = sentence_of(judge(runs(Mish=(-0.007, 0.01), **others), RULES), "Mish")
    assert text.startswith("Nothing can be said about Mish and ReLU")
    assert "among 28 comparisons that is not enough (p = " in text


def test_a_pair_outside_the_declared_family_is_told_as_such() -> None:
    verdict = judge(runs(Mish=(-0.05, 0.01), Swish=(0.05, 0.012)), Rules("ReLU", 0.005, Family.baseline))
    assert sentence_of(verdict, "Mish", "Swish").startswith("Mish and Swish are outside the declared family:")
    assert verdict.lead()[-1] == "Nothing can be said about 1 other pair of arms."


def test_the_lead_names_the_best_the_ties_and_the_claims() -> None:
    lead = judge(runs(Mish=(-0.02, 0.005), Swish=(-0.0195, 0.012)), RULES).lead()
    assert lead[0].startswith("Mish has the lowest mean error, 8.0 % (12 runs, 95 % interval 7.7 to 8.3)")
    assert lead[0].endswith("not told apart from it: Swish.")
    assert [text.split(" by ")[0] for text in lead[1:3]] == [
        "Mish is better than ReLU",
        "Swish is better than ReLU",
    ]
    assert lead[3] == "Nothing can be said about 1 other pair of arms."


def test_labels_with_commas_are_told_apart_in_a_list() -> None:
    table = runs(**{"TAct, α = 1": (-0.02, 0.005), "Swish": (-0.0195, 0.012), "A, b": (-0.0196, 0.012)})
    assert judge(table, RULES).lead()[0].endswith("not told apart from it: A, b; Swish.")


def test_an_undisputed_winner_is_called_so() -> None:
    lead = judge(runs(Mish=(0.05, 0.01)), RULES).lead()
    assert lead[0] == "ReLU has the lowest mean error, 10.00 % (12 runs), and every other arm is worse."


def test_runs_that_diverged_are_counted_and_told() -> None:
    table = runs(Mish=(-0.01, 0.002))
    lost = (table["arm"] == "Mish") & (table["seed"] == 3)
    table.loc[lost, ["error", "diverged"]] = [0.9, True]
    verdict = judge(table, RULES)
    assert "1 of 12 runs with Mish diverged: counted as errors of chance." in verdict.lead()
    assert sentence_of(verdict, "Mish").startswith("Nothing can be said")
    assert verdict.pairs["p_better"].tolist() == pytest.approx([11 / 12])


def test_blocks_are_named_and_the_arms_over_all_of_them_follow() -> None:
    table = pd.concat([runs(f"net {place}", Mish=(-0.02, 0.005)) for place in range(6)])
    lead = judge(table, RULES).lead()
    assert lead[1].startswith("net 0: Mish is better than ReLU by 2.0 points")
    assert (
        lead[-1]
        == "Over 6 blocks Mish is better than ReLU (Wilcoxon's test, p = 0.031 after Holm's correction)."
    )
    few = judge(table[table["block"].isin(["net 0", "net 1"])], RULES).lead()
    assert few[-1].startswith("Over all blocks nothing can be said: 2 of at least 6 blocks")
    assert not any("all blocks" in text for text in judge(runs(Mish=(0.0, 0.1)), RULES).lead())


@pytest.mark.parametrize(
    ("low", "high", "digits"),
    [(-0.009, -0.003, 1), (-0.0010, 0.0003, 2), (0.0004, 0.01, 2), (0.1, 0.4, 1), (0.00001, 0.0000101, 4)],
)
def test_decimals_show_the_interval_and_no_false_zero(low: float, high: float, digits: int) -> None:
    assert decimals(low, high) == digits


def test_points_have_a_true_minus_and_no_negative_zero() -> None:
    assert [points(value, 1) for value in (-0.0123, -0.0001, 0.05)] == ["−1.2", "0.0", "5.0"]
